"""What a rewrite is: one exact equality of the network, applied in place wherever its precondition holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_ir.passes import common

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class RewriteResult:
    """What one rewrite did to a graph."""

    name: str
    sites: int

    @property
    def changed(self) -> bool:
        """Whether the graph is another one now."""
        return self.sites > 0


class Rewrite(ABC):
    """One exact graph rewrite.

    A subclass matches its precondition site by site; a site that does not fit it is left as it is, so a
    rewrite that applies nowhere leaves the graph untouched and reports ``changed`` False.
    """

    name: str
    summary: str

    @abstractmethod
    def rewrite(self, model: ir.Model) -> int:
        """Rewrite the model in place and return the number of places that changed."""

    def __call__(self, model: ir.Model) -> RewriteResult:
        """Apply the rewrite, drop the nodes it left without a reader and infer the types of the new ones."""
        sites = self.rewrite(model)
        if sites:
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
            common.RemoveUnusedNodesPass()(model)
            common.RemoveUnusedFunctionsPass()(model)
            common.ShapeInferencePass()(model)
        return RewriteResult(self.name, sites)
