"""All weights of a network in one vector, so that an update is a handful of kernels and not hundreds.

Two halves: first the weights that convolutions read in bf16 (from a working copy made anew at each step), then those
that stay FP32. Convolution weights lie channels-last in it, as cuDNN reads them and gives their gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ALIGNMENT = 32
"""Elements at whose multiples every tensor begins: 64 bytes in bf16, more than any kernel asks for."""


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies in the vector."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """Elements."""
        return torch.Size(self.shape).numel()

    @property
    def end(self) -> int:
        """Where the next tensor begins."""
        return self.start + -(-self.size // ALIGNMENT) * ALIGNMENT

    def view(self, vector: Tensor, offset: int = 0) -> Tensor:
        """The tensor as a view of the vector, channels-last if it has four dimensions."""
        flat = vector[self.start - offset : self.start - offset + self.size]
        if len(self.shape) != 4:
            return flat.view(self.shape)
        outputs, inputs, height, width = self.shape
        return flat.view(outputs, height, width, inputs).permute(0, 3, 1, 2)


class Layout:
    """Places of named tensors in a vector.

    Attributes:
        half, full: the slots of the bf16 and of the FP32 part.
        boundary: where the FP32 part begins.
        size: elements of the vector, padding included.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], half: Iterable[str]) -> None:
        chosen = set(half)
        self.half = _slots([(name, shape) for name, shape in shapes.items() if name in chosen], 0)
        self.boundary = self.half[-1].end if self.half else 0
        self.full = _slots([(name, shape) for name, shape in shapes.items() if name not in chosen], self.boundary)
        self.size = self.full[-1].end if self.full else self.boundary

    def pack(self, tensors: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """A new FP32 vector; the padding is zero."""
        vector = torch.zeros(self.size)
        for slot in (*self.half, *self.full):
            slot.view(vector).copy_(tensors[slot.name].detach())
        return vector.to(device)

    def unpack(self, vector: Tensor) -> dict[str, Tensor]:
        """Contiguous FP32 copies on the CPU by name."""
        on_host = vector.detach().to("cpu", torch.float32)
        return {slot.name: slot.view(on_host).clone().contiguous() for slot in (*self.half, *self.full)}

    def leaves(self, master: Tensor, working: Tensor) -> dict[str, Tensor]:
        """Tensors to differentiate by, sharing memory with the vectors.

        Args:
            master: FP32 [size].
            working: [boundary], the bf16 copy of the first part.
        """
        views = {slot.name: slot.view(working) for slot in self.half}
        views |= {slot.name: slot.view(master) for slot in self.full}
        return {name: view.detach().requires_grad_() for name, view in views.items()}

    def gather_gradients(self, gradients: Mapping[str, Tensor], into: Tensor, zeros: Tensor) -> None:
        """Write all gradients into an FP32 vector in its order; ``zeros`` [32] fills the padding, in either type."""
        if self.half:
            into[: self.boundary].copy_(_joined(self.half, gradients, zeros))
        if self.full:
            into[self.boundary :].copy_(_joined(self.full, gradients, zeros))


def _slots(shapes: Sequence[tuple[str, tuple[int, ...]]], start: int) -> tuple[Slot, ...]:
    slots: list[Slot] = []
    for name, shape in shapes:
        slots.append(Slot(name, shape, slots[-1].end if slots else start))
    return tuple(slots)


def _joined(slots: Sequence[Slot], gradients: Mapping[str, Tensor], zeros: Tensor) -> Tensor:
    pieces: list[Tensor] = []
    for slot in slots:
        gradient = gradients[slot.name]
        if gradient.dim() == 4:
            gradient = gradient.permute(0, 2, 3, 1)
        pieces.append(gradient.reshape(-1))
        padding = slot.end - slot.start - slot.size
        if padding:
            pieces.append(zeros[:padding].to(gradient.dtype))
    return torch.cat(pieces)
