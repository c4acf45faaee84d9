"""What a rewrite is: one exact equality of the network, applied in place wherever its precondition holds."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from onnx_ir.passes import common

if TYPE_CHECKING:
    import onnx_ir as ir

LOGGER = logging.getLogger(__name__)


class Use(str, Enum):
    """What a graph is for: ``portable``, to be run as it is by any backend, or ``engine``, to be compiled."""

    PORTABLE = "portable"
    ENGINE = "engine"


EVERYWHERE, ENGINES = frozenset(Use), frozenset({Use.ENGINE})


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

    Attributes:
        name: what ``--no-rewrite`` takes.
        summary: one line.
        uses: which graphs it makes better.
        largest_batch: of the graphs that it leaves; None if it leaves the batch open.
    """

    name: str
    summary: str
    uses: frozenset[Use] = EVERYWHERE
    largest_batch: int | None = None

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
