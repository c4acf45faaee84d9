"""Exact graph rewrites: one file each, applied in the order of :data:`ALL`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.rewrites.affine_folding import AffineFolding
from defian_edge.export.rewrites.base import Rewrite, RewriteResult
from defian_edge.export.rewrites.cheap_hessian import CheapHessian
from defian_edge.export.rewrites.one_channel_dac import OneChannelDac
from defian_edge.export.rewrites.recompute_shallow import RecomputeShallow
from defian_edge.export.rewrites.shuffle_last import ShuffleLast
from defian_edge.export.rewrites.spatial_statistics import SpatialStatistics
from defian_edge.export.rewrites.transposed_convolutions import TransposedConvolutions
from defian_edge.export.rewrites.upscale_output import UpscaleOutput
from defian_edge.runtime.errors import DefianError

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
