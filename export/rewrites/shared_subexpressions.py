"""Equal things are computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes import common

from export.rewrites.base import Rewrite

if TYPE_CHECKING:
    import onnx_ir as ir


class SharedSubexpressions(Rewrite):
    """Compute equal things once.

    The exporter writes a constant, a shape read and the Bessel factor of the variance anew in every
    module. Constants become initializers, equal initializers one, and nodes of equal type, inputs and
    attributes one node.
    """

    name = "shared-subexpressions"
    summary = "equal constants, shapes and factors are computed once"

    def rewrite(self, model: ir.Model) -> int:
        before = len(model.graph) + len(model.graph.initializers)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        common.DeduplicateInitializersPass(size_limit=1 << 20)(model)
        common.CommonSubexpressionEliminationPass()(model)
        common.IdentityEliminationPass()(model)
        common.RemoveUnusedNodesPass()(model)
        common.TopologicalSortPass()(model)
        return before - len(model.graph) - len(model.graph.initializers)
