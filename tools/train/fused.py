"""Hand-written Triton kernels in place of PyTorch's operations, on a GPU where they have proven themselves."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tools.train.hessian import PLAIN, EigenvalueMaps, Kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

CLOSE = {torch.float32: 2e-5, torch.bfloat16: 2**-7}
"""Largest difference from PyTorch's results that a proof accepts, as a share of the largest, by features' type.

A kernel adds in another order and takes the GPU's own roots: a few units in the last place of FP32. Two roundings to
bf16 may differ by one of its units.
"""


class UnprovenError(Exception):
    """Why the hand-written kernels are not used here, in a sentence's second half."""


def hessian_kernels(device: torch.device, shape: Sequence[int], kind: torch.dtype) -> Kernels:
    """The Hessian in two kernels, compiled for these features and compared with PyTorch's operations on them.

    Args:
        device: where training runs.
        shape: of its features, [N, C, H, W], which lie channels-last.
        kind: FP32 or bf16.

    Raises:
        UnprovenError: the device runs no Triton kernels, Triton is not installed, or the results differ.
    """
    if device.type != "cuda":
        raise UnprovenError("kernels are written for a GPU")
    if find_spec("triton") is None:
        raise UnprovenError("Triton is not installed")
    from tools.train.hessian_kernels import FUSED

    prove(FUSED, features(shape, kind, device))
    return FUSED


def features(shape: Sequence[int], kind: torch.dtype, device: torch.device) -> Tensor:
    """Channels-last noise around zero with a flat quarter, the same each time.

    All are bf16 numbers, also as FP32: their sums are exact, and where a root is nearly zero, its slope is not a matter
    of rounding.
    """
    noise = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    noise[..., : shape[2] // 2, : shape[3] // 2] = 0.25
    return noise.bfloat16().to(device=device, dtype=kind, memory_format=torch.channels_last)


def prove(kernels: Kernels, r: Tensor) -> None:
    """Compare kernels with PyTorch's operations on features r, forward and backward.

    Raises:
        UnprovenError: a result differs by more than :data:`CLOSE`, or is not finite.
    """
    slope = features((r.shape[0], 3, *r.shape[2:]), torch.float32, r.device).contiguous()
    results = []
    for each in (kernels, PLAIN):
        leaf = r.detach().requires_grad_()
        maps = EigenvalueMaps.apply(leaf, each)
        (gradient,) = torch.autograd.grad(maps, leaf, slope)
        results.append((maps.detach(), gradient))
    (maps, gradient), (expected_maps, expected_gradient) = results
    require_close("the Hessian's maps", maps, expected_maps, CLOSE[torch.float32])
    require_close("the Hessian's gradient", gradient, expected_gradient, CLOSE[r.dtype])


def require_close(what: str, found: Tensor, expected: Tensor, share: float) -> None:
    """Compare two tensors.

    Raises:
        UnprovenError: they differ by more than ``share`` of the largest expected number; also where one is not finite.
    """
    difference = float((found.float() - expected.float()).abs().max())
    largest = float(expected.float().abs().max())
    if not difference <= share * largest:
        raise UnprovenError(f"{what} differ by {difference:.3g} where the largest number is {largest:.3g}")
