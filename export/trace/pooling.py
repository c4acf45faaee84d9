"""Adaptive max pooling to a fraction of the picture, which ONNX has no operator for, as max pooling that it has.

``F.adaptive_max_pool2d(x, (height // 8, width // 8))`` of SAFMN is max pooling by 8 wherever 8 divides the size. By
what a network pools is seen in runs at two sizes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "adaptive_max_pool2d"
WHOLE = (0, 0)
"""In place of a kernel: the picture is pooled to one value, whatever its size."""
Kernel = tuple[int, int]


def kernels_of(run: Callable[[], object]) -> list[Kernel | None]:
    """By what every adaptive max pooling of a run pools, in their order; None where it is no whole fraction, or where
    the places of the largest values are asked for.
    """
    given, found = getattr(F, NAME), []

    def note(input: Tensor, output_size: Any, return_indices: bool = False) -> object:  # noqa: A002, ANN401, FBT001, FBT002 - as torch's
        found.append(None if return_indices else _kernel(input, output_size))
        return given(input, output_size, return_indices=return_indices)

    with _instead(note):
        run()
    return found


def _kernel(values: Tensor, output_size: Any) -> Kernel | None:  # noqa: ANN401 - a number, or two, each or none of them
    sides = (output_size,) * 2 if isinstance(output_size, int) or output_size is None else tuple(output_size)
    pooled = [int(given if side is None else side) for side, given in zip(sides, values.shape[-2:], strict=True)]
    if pooled == [1, 1]:
        return WHOLE
    height, width = (int(side) for side in values.shape[-2:])
    if height % pooled[0] or width % pooled[1]:
        return None
    return height // pooled[0], width // pooled[1]


class PlainPooling(nn.Module):
    """A network whose adaptive max pooling is max pooling by these kernels, one a call."""

    def __init__(self, network: nn.Module, kernels: list[Kernel]) -> None:
        super().__init__()
        self.network, self.kernels = network, kernels

    def forward(self, image: Tensor) -> Tensor:
        calls = iter(self.kernels)

        def pool(input: Tensor, *_: object, **__: object) -> Tensor:  # noqa: A002 - as torch's
            kernel = next(calls)
            return input.amax((-2, -1), keepdim=True) if kernel == WHOLE else F.max_pool2d(input, kernel, kernel)

        with _instead(pool):
            return self.network(image)


@contextmanager
def _instead(function: Callable[..., object]) -> Iterator[None]:
    given = getattr(F, NAME)
    setattr(F, NAME, function)
    try:
        yield
    finally:
        setattr(F, NAME, given)
