"""How near a step is to what the device can do: its arithmetic and its traffic against measured ceilings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from defian_edge.models.defian import DeFiAN

if TYPE_CHECKING:
    from collections.abc import Callable

    from defian_edge.models.defian import Architecture

PASSES = 3
"""Forward, and backward by the maps and by the weights: as many operations and bytes as the forward pass each."""


@dataclass(frozen=True)
class StepWork:
    """Of one training step: multiplications and additions of its convolutions, and bytes of their maps.

    Each convolution's input and output is counted once a pass; what is pointwise could all be fused into them.
    """

    operations: float
    bytes: float


@dataclass(frozen=True)
class Ceilings:
    """Measured on the device: operations and bytes a second."""

    operations: float
    bytes: float

    def seconds(self, work: StepWork) -> float:
        """No step is much faster."""
        return max(work.operations / self.operations, work.bytes / self.bytes)


def work_of(architecture: Architecture, batch: int, patch: int, element: int) -> StepWork:
    """The work of a step of ``batch`` patches of ``patch`` pixels a side with maps of ``element`` bytes a value."""
    side, found = 8, [0.0, 0.0]
    pixels = batch * (patch / side) ** 2

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and layer.weight.requires_grad:
            taps = layer.kernel_size[0] * layer.kernel_size[1]
            times = pixels if output.shape[-1] > 1 else batch
            found[0] += times * 2.0 * taps * layer.in_channels * output.numel()
            found[1] += times * element * (inputs[0].numel() + output.numel())

    network = DeFiAN(architecture)
    for layer in network.modules():
        layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    return StepWork(PASSES * found[0], PASSES * found[1])


def measure_ceilings(device: torch.device, *, bf16: bool) -> Ceilings:
    """A large matrix product and a large copy, well under a second each."""
    on_gpu = device.type == "cuda"
    side, megabytes = (8192, 1024) if on_gpu else (768, 32)
    kind = torch.bfloat16 if bf16 else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    product = _seconds(lambda: left @ right, device)
    source = torch.ones(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = _seconds(lambda: target.copy_(source), device)
    return Ceilings(2.0 * side**3 / product, 2.0 * source.numel() / copy)


def _seconds(call: Callable[[], object], device: torch.device, repeats: int = 6) -> float:
    """The mean of several calls after one that warms up."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    call()
    wait()
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    wait()
    return (time.perf_counter() - begun) / repeats
