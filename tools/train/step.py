"""One training step: gather patches, forward, backward, update. All on the device, nothing allocated that must last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from defian_edge.models.defian import RGB_MEAN, RGB_STD
from tools.train.flat import ALIGNMENT, Layout
from tools.train.network import Regions, loss_of, reads_half, trained_names
from tools.train.patches import BLOCK, COLUMNS
from tools.train.update import Rule, State, update

if TYPE_CHECKING:
    from defian_edge.models.defian import DeFiAN
    from tools.train.patches import PatchBank


class Step:
    """A step and the tensors it reads and writes, all of which stay where they are, as a CUDA graph needs it.

    Attributes:
        state: what training changes.
        draws: the block of draws that is being used [256, batch, 5].
        rates: the learning rates of its steps [256], FP32.
        leaves: the weights that it differentiates by, by name.
        gradient: of the last step, clipped, FP32 [n].
        row: which of them comes next, int64 [1]; counted up by the step itself.
    """

    def __init__(self, network: DeFiAN, bank: PatchBank, batch: int, device: torch.device, *, bf16: bool) -> None:
        self.bank, self.batch, self.device = bank, batch, device
        self.architecture = network.architecture
        shapes = dict(network.named_parameters())
        names = trained_names(network)
        half = [name for name in names if bf16 and reads_half(name)]
        self.layout = Layout({name: tuple(shapes[name].shape) for name in names}, half)
        self.state = State(self.layout.pack(shapes, device))
        self.rule = Rule()
        self.draws = torch.zeros(BLOCK, batch, COLUMNS, dtype=torch.int64, device=device)
        self.rates = torch.zeros(BLOCK, device=device)
        self.row = torch.zeros(1, dtype=torch.int64, device=device)
        self.regions = Regions.of(0)
        self._type = torch.bfloat16 if bf16 else torch.float32
        self._working = torch.zeros(self.layout.boundary, dtype=torch.bfloat16, device=device)
        self.gradient = torch.zeros_like(self.state.master)
        self._zeros = torch.zeros(ALIGNMENT, device=device)
        self._mean, self._std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (RGB_MEAN, RGB_STD))
        self.leaves = self.layout.leaves(self.state.master, self._working)

    def __call__(self) -> None:
        """One step with the next row of the block."""
        with torch.no_grad():
            self._working.copy_(self.state.master[: self.layout.boundary])
            lr, hr = self.bank.gather(self.draws.index_select(0, self.row)[0])
            rate = self.rates.index_select(0, self.row)[0]
            low, high = self.normalised(lr), self.normalised(hr)
        loss, gradients = self.gradients(low, high)
        self.layout.gather_gradients(gradients, self.gradient, self._zeros)
        update(self.state, self.gradient, loss, rate, self.rule)
        self.row += 1

    def gradients(self, low: Tensor, high: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss on normalised patches (FP32, channels-last), detached, and its gradient by every weight."""
        loss = loss_of(self.regions, self.architecture, self.leaves, low.to(self._type), high)
        found = torch.autograd.grad(loss, list(self.leaves.values()))
        return loss.detach(), dict(zip(self.leaves, found, strict=True))

    def normalised(self, pixels: Tensor) -> Tensor:
        """uint8 [N, H, W, 3] -> normalised FP32 [N, 3, H, W], channels-last.

        As ``models.defian.normalise``, whose constants come from the host at each call, which a CUDA graph forbids.
        """
        return (pixels.permute(0, 3, 1, 2).float() / 255.0 - self._mean) / self._std
