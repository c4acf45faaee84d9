"""Hand-written Triton kernels in place of PyTorch's operations, on a GPU where they have proven themselves."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from defian_edge.models.defian import REDUCTION
from tools.train.hessian import PLAIN, EigenvalueMaps, Kernels
from tools.train.network import residual_block

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLOSE = {torch.float32: 2e-5, torch.bfloat16: 2**-7}
"""Largest difference from PyTorch's results that a proof accepts, as a share of the largest, by features' type.

A kernel adds in another order and takes the GPU's own roots: a few units in the last place of FP32. Two roundings to
bf16 may differ by one of its units.
"""

CLOSE_BLOCK = {torch.float32: 1e-3, torch.bfloat16: 2e-2}
"""Likewise for the residual block, but norm of the difference by norm: its convolutions add in varying order."""


SMALL_LAYERS = ("squeeze", "squeeze_bias", "spread", "spread_bias")


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
    _require_triton(device)
    from tools.train.hessian_kernels import FUSED

    prove(FUSED, features(shape, kind, device))
    return FUSED


def block_kernels(device: torch.device, shape: Sequence[int], kind: torch.dtype) -> Callable[..., Tensor]:
    """The residual block with kernels around its convolutions, likewise.

    Raises:
        UnprovenError: as :func:`hessian_kernels`.
    """
    _require_triton(device)
    from tools.train.block_kernels import residual_block as fused

    prove_block(fused, features(shape, kind, device))
    return fused


def _require_triton(device: torch.device) -> None:
    if device.type != "cuda":
        raise UnprovenError("kernels are written for a GPU")
    if find_spec("triton") is None:
        raise UnprovenError("Triton is not installed")


def features(shape: Sequence[int], kind: torch.dtype, device: torch.device) -> Tensor:
    """Channels-last noise around zero with a flat quarter, the same each time.

    All are bf16 numbers, also as FP32: their sums are exact, and where a root is nearly zero, its slope is not a matter
    of rounding.
    """
    noise = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    noise[..., : shape[2] // 2, : shape[3] // 2] = 0.25
    return noise.bfloat16().to(device=device, dtype=kind, memory_format=torch.channels_last)


def prove(kernels: Kernels, r: Tensor) -> None:
    """Compare the Hessian's kernels with PyTorch's operations on features r, forward and backward.

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


def prove_block(block: Callable[..., Tensor], x: Tensor) -> None:
    """Compare a residual block with PyTorch's operations on features x, and its gradients by x and by all weights.

    Raises:
        UnprovenError: a result differs by more than :data:`CLOSE_BLOCK`, or is not finite.
    """
    channels, inner = x.shape[1], x.shape[1] // REDUCTION
    made = torch.Generator().manual_seed(1)
    first, second, squeeze, spread = (
        torch.randn(*shape, generator=made) / (shape[1] * shape[2] ** 2) ** 0.5
        for shape in ((channels, channels, 3, 3),) * 2 + ((inner, channels, 1, 1), (channels, inner, 1, 1))
    )
    vectors = torch.full((inner,), 0.5), torch.randn(channels, generator=made)
    weights = [first.to(x.dtype), second.to(x.dtype), squeeze, vectors[0], spread, vectors[1]]
    slope = features(x.shape, x.dtype, x.device)
    results = []
    for each in (block, residual_block):
        leaves = [tensor.detach().to(x.device).requires_grad_() for tensor in (x, *weights)]
        result = each(*leaves)
        results.append((result.detach(), *torch.autograd.grad(result, leaves, slope)))
    names = ("output", *(f"gradient by {name}" for name in ("x", "first", "second", *SMALL_LAYERS)))
    for name, found, expected in zip(names, *results, strict=True):
        difference = float(torch.linalg.vector_norm(found.float() - expected.float()))
        size = float(torch.linalg.vector_norm(expected.float()))
        if not difference <= CLOSE_BLOCK[x.dtype] * size:
            raise UnprovenError(f"the residual block's {name} differs by {difference:.3g} from one of norm {size:.3g}")


def require_close(what: str, found: Tensor, expected: Tensor, share: float) -> None:
    """Compare two tensors.

    Raises:
        UnprovenError: they differ by more than ``share`` of the largest expected number; also where one is not finite.
    """
    difference = float((found.float() - expected.float()).abs().max())
    largest = float(expected.float().abs().max())
    if not difference <= share * largest:
        raise UnprovenError(f"{what} differ by {difference:.3g} where the largest number is {largest:.3g}")
