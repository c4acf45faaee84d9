"""Exact graph rewrites: one file each, applied in the order of :data:`ALL`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.rewrites.affine_folding import AffineFolding
from export.rewrites.base import Rewrite, RewriteResult
from export.rewrites.cheap_hessian import CheapHessian
from export.rewrites.one_channel_dac import OneChannelDac
from export.rewrites.recompute_shallow import RecomputeShallow
from export.rewrites.shuffle_last import ShuffleLast
from export.rewrites.spatial_statistics import SpatialStatistics
from export.rewrites.transposed_convolutions import TransposedConvolutions
from export.rewrites.upscale_output import UpscaleOutput
from runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import onnx_ir as ir

ALL: tuple[Rewrite, ...] = (
    TransposedConvolutions(),
    SpatialStatistics(),
    OneChannelDac(),
    CheapHessian(),
    AffineFolding(),
    UpscaleOutput(),
    ShuffleLast(),
    RecomputeShallow(),
)
"""Order matters twice: DAC's map loses its copies once its variance has rank 4, and affine folding has to
reach the output convolution before that is composed with the upscaling."""

__all__ = ["ALL", "Rewrite", "RewriteResult", "apply_rewrites", "select"]


def select(without: Collection[str] = ()) -> tuple[Rewrite, ...]:
    """All rewrites but those named.

    Raises:
        DefianError: a name is not that of a rewrite.
    """
    names = [rewrite.name for rewrite in ALL]
    for name in without:
        if name not in names:
            raise DefianError(f"No rewrite {name!r}: expected one of {', '.join(names)}.")
    return tuple(rewrite for rewrite in ALL if rewrite.name not in without)


def apply_rewrites(
    model: ir.Model,
    rewrites: Collection[Rewrite] = ALL,
    after_each: Callable[[RewriteResult], None] | None = None,
) -> list[RewriteResult]:
    """Rewrite the model in place; ``after_each`` sees the model between two rewrites."""
    results = []
    for rewrite in rewrites:
        results.append(rewrite(model))
        if after_each is not None:
            after_each(results[-1])
    return results
