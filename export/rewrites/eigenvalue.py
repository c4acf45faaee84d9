"""What the rewrites of the eigenvalue step have in common: they write the body of its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.rewrites.base import Rewrite
from defian_edge.export.trace.hessian_op import NAME, body_form

if TYPE_CHECKING:
    import onnx_ir as ir


class EigenvalueRewrite(Rewrite):
    """A rewrite of the operator's body, which is there only where a module's frozen stencils are the standard ones."""

    operator = NAME
    place = "of standard stencils"

    def requires(self, model: ir.Model) -> str:
        """The tracer writes the operator for no module with other stencils."""
        missing = super().requires(model)
        return f"{missing}: the stencils of no module are the standard ones" if missing else ""

    def why_none(self, model: ir.Model) -> str:
        """The only reason left: the body is not as it was traced."""
        return f"{body_form(model)} has written the eigenvalue step already"
