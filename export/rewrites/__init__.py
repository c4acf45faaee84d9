"""Exact graph rewrites: one file each, applied in the order of :data:`ALL`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.rewrites.affine_folding import AffineFolding
from defian_edge.export.rewrites.base import Rewrite, RewriteResult, Use, require_order
from defian_edge.export.rewrites.cheap_hessian import CheapHessian
from defian_edge.export.rewrites.early_attention import EarlyAttention
from defian_edge.export.rewrites.hessian_slices import HessianSlices
from defian_edge.export.rewrites.one_channel_dac import OneChannelDac
from defian_edge.export.rewrites.one_pass_variance import OnePassVariance
from defian_edge.export.rewrites.pixel_order import PixelOrder
from defian_edge.export.rewrites.recompute_shallow import RecomputeShallow
from defian_edge.export.rewrites.ring_selection import RingSelection
from defian_edge.export.rewrites.rounded_up_sizes import RoundedUpSizes
from defian_edge.export.rewrites.shuffle_last import ShuffleLast
from defian_edge.export.rewrites.slice_assignments import SliceAssignments
from defian_edge.export.rewrites.spatial_statistics import SpatialStatistics
from defian_edge.export.rewrites.transposed_convolutions import TransposedConvolutions
from defian_edge.export.rewrites.upscale_output import UpscaleOutput
from defian_edge.export.rewrites.vector_products import VectorProducts
from defian_edge.runtime.arguments import shown
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
    RoundedUpSizes(),
    SliceAssignments(),
    EarlyAttention(),
    OnePassVariance(),
    HessianSlices(),
    VectorProducts(),
    RingSelection(),
    PixelOrder(),
)
"""Order matters, and is held against what each rewrite says it comes ``after``: DAC's map loses its copies once its
variance has rank 4, affine folding has to reach the output convolution before that is composed with the upscaling, and
what is for engines alone stands behind what is for all."""
require_order(ALL)

PORTABLE: tuple[Rewrite, ...] = tuple(rewrite for rewrite in ALL if Use.PORTABLE in rewrite.uses)
"""Those of a graph that any backend may run, and of every INT8 graph."""

__all__ = ["ALL", "PORTABLE", "Rewrite", "RewriteResult", "Use", "apply_rewrites", "select"]


def select(without: Collection[str] = (), use: Use = Use.PORTABLE, largest_batch: int = 1) -> tuple[Rewrite, ...]:
    """The rewrites for a graph's use, but those named and those that the batch forbids.

    Args:
        without: names that are left out, of any use.
        use: what the graph is for.
        largest_batch: that the graph has to take.

    Raises:
        DefianError: a name is not that of a rewrite.
    """
    names = [rewrite.name for rewrite in ALL]
    for name in without:
        if name not in names:
            raise DefianError(f"No rewrite {shown(name)}: expected one of {', '.join(names)}.")
    return tuple(
        rewrite
        for rewrite in ALL
        if use in rewrite.uses
        and rewrite.name not in without
        and (rewrite.largest_batch is None or largest_batch <= rewrite.largest_batch)
    )


def apply_rewrites(
    model: ir.Model,
    rewrites: Collection[Rewrite] = PORTABLE,
    after_each: Callable[[RewriteResult], None] | None = None,
) -> list[RewriteResult]:
    """Rewrite the model in place; ``after_each`` sees the model between two rewrites.

    Raises:
        ValueError: one comes before a rewrite that it has to come after.
    """
    require_order(rewrites)
    results = []
    for rewrite in rewrites:
        results.append(rewrite(model))
        if after_each is not None:
            after_each(results[-1])
    return results
