"""The Hessian's larger eigenvalue for training: shifted slices of padded maps, FP32, and a slope that is finite.

The same numbers as :class:`models.defian.HessianFilter` with biases of zero. The square root's slope is infinite
where it is zero, on flat patches; a small constant under it keeps gradients finite.

The backward pass is written out, because a compiler that derives it inlines stencils into stencils. With
``root = sqrt((fxx - fyy)^2 + 4 fxy^2 + tiny)`` the eigenvalue ``((fxx + fyy) + root) / 2`` has the slopes
``(1 + (fxx - fyy) / root) / 2`` by fxx, ``(1 - (fxx - fyy) / root) / 2`` by fyy and ``2 fxy / root`` by fxy; each
stencil is its own mirror image, so that the same stencils carry the slopes back to the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from defian_edge.models.defian import DILATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

TINY = 1e-12


def maps_of(r: Tensor) -> Tensor:
    """Channel means of the larger eigenvalue at dilations 1, 2, 3: [N, C, H, W] -> FP32 [N, 3, H, W]."""
    found = []
    for dilation in DILATIONS:
        fxx, fyy, fxy = _second_derivatives(r, dilation)
        found.append((((fxx + fyy) + _root(fxx, fyy, fxy)) / 2.0).mean(dim=1, keepdim=True))
    return torch.cat(found, dim=1)


def slopes_of(r: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
    """Gradients by fxx, fyy and fxy of each dilation in turn, nine FP32 [N, C, H, W], from the maps' [N, 3, H, W]."""
    found: list[Tensor] = []
    for index, dilation in enumerate(DILATIONS):
        fxx, fyy, fxy = _second_derivatives(r, dilation)
        root = _root(fxx, fyy, fxy)
        half = gradient[:, index : index + 1] / (2.0 * r.shape[1])
        lean = (fxx - fyy) / root * half
        found += [half + lean, half - lean, 4.0 * fxy / root * half]
    return tuple(found)


def carried_back(*slopes: Tensor) -> Tensor:
    """The gradient by the map, FP32 [N, C, H, W], from what :func:`slopes_of` gives."""
    total = torch.zeros_like(slopes[0])
    for index, dilation in enumerate(DILATIONS):
        by_xx, by_yy, by_xy = slopes[3 * index : 3 * index + 3]
        total = total + _along(by_xx, dilation, 0, 1) + _along(by_yy, dilation, 1, 0) + _diagonal(by_xy, dilation)
    return total


def _second_derivatives(r: Tensor, dilation: int) -> tuple[Tensor, Tensor, Tensor]:
    r = r.float()
    return _along(r, dilation, 0, 1), _along(r, dilation, 1, 0), _diagonal(r, dilation)


def _root(fxx: Tensor, fyy: Tensor, fxy: Tensor) -> Tensor:
    return torch.sqrt((fxx - fyy) ** 2 + 4.0 * fxy**2 + TINY)


def _along(x: Tensor, dilation: int, down: int, right: int) -> Tensor:
    """Stencil 1, -2, 1 in one direction; zero outside."""
    padded = functional.pad(x, (dilation,) * 4)
    there, back = _shifted(padded, x, dilation, down, right), _shifted(padded, x, dilation, -down, -right)
    return back - 2.0 * x + there


def _diagonal(x: Tensor, dilation: int) -> Tensor:
    """Stencil 1, -1, -1, 1 at the corners; zero outside."""
    padded = functional.pad(x, (dilation,) * 4)
    corners = [_shifted(padded, x, dilation, down, right) for down in (-1, 1) for right in (-1, 1)]
    return corners[0] - corners[1] - corners[2] + corners[3]


def _shifted(padded: Tensor, x: Tensor, dilation: int, down: int, right: int) -> Tensor:
    top, left = dilation * (1 + down), dilation * (1 + right)
    return padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]


@dataclass(frozen=True)
class Kernels:
    """The three functions above, as they are or compiled."""

    maps: Callable[[Tensor], Tensor]
    slopes: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    back: Callable[..., Tensor]


PLAIN = Kernels(maps_of, slopes_of, carried_back)


class EigenvalueMaps(torch.autograd.Function):
    """:func:`maps_of` with the backward pass of this file; called with r and the :class:`Kernels`."""

    @staticmethod
    def forward(ctx: Any, r: Tensor, kernels: Kernels) -> Tensor:  # noqa: ANN401 - PyTorch's
        """[N, C, H, W] -> FP32 [N, 3, H, W]."""
        ctx.save_for_backward(r)
        ctx.kernels = kernels
        return kernels.maps(r)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        """The gradient by r, in r's type."""
        (r,), kernels = ctx.saved_tensors, ctx.kernels
        return kernels.back(*kernels.slopes(r, gradients[0].contiguous())).to(r.dtype), None
