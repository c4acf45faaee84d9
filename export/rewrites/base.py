"""What a rewrite is: one exact equality of the network, applied in place wherever its precondition holds."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes import common

if TYPE_CHECKING:
    from collections.abc import Iterable

LOGGER = logging.getLogger(__name__)


class Use(str, Enum):
    """What a graph is for: ``portable``, to be run as it is by any backend, or ``engine``, to be compiled."""

    PORTABLE = "portable"
    ENGINE = "engine"


EVERYWHERE, ENGINES = frozenset(Use), frozenset({Use.ENGINE})
Interface = tuple[tuple[str | None, ir.DataType | None, int | None], ...]


@dataclass(frozen=True)
class RewriteResult:
    """What one rewrite did to a graph.

    Attributes:
        name: of the rewrite.
        sites: places that it changed.
        why_none: why there is none, for a reader of the account; empty if there is one.
    """

    name: str
    sites: int
    why_none: str = ""

    @property
    def changed(self) -> bool:
        """Whether the graph is another one now."""
        return self.sites > 0


class Rewrite(ABC):
    """One exact graph rewrite.

    A subclass matches its precondition site by site; a site that does not fit it is left as it is, so a
    rewrite that applies nowhere leaves the graph untouched and reports ``changed`` False, and why.

    Attributes:
        name: what ``--no-rewrite`` takes.
        summary: one line.
        operator: type of the node that every place is found by.
        place: what such a node has to be, in words that fit behind "none of 3 Conv nodes is".
        uses: which graphs it makes better.
        largest_batch: of the graphs that it leaves; None if it leaves the batch open.
        after: names of rewrites that come first, if they are used at all: they make its places, or would lose theirs.
    """

    name: str
    summary: str
    operator: str
    place: str
    uses: frozenset[Use] = EVERYWHERE
    largest_batch: int | None = None
    after: frozenset[str] = frozenset()

    @abstractmethod
    def rewrite(self, model: ir.Model) -> int:
        """Rewrite the model in place and return the number of places that changed."""

    def requires(self, model: ir.Model) -> str:
        """What of the graph as a whole forbids the rewrite, in words; empty if nothing does. Asked before each run."""
        return "" if self._candidates(model) else f"the graph has no {self.operator}"

    def why_none(self, model: ir.Model) -> str:
        """Why :meth:`rewrite` has found no place."""
        return f"none of {self._candidates(model)} {self.operator} nodes is {self.place}"

    def _candidates(self, model: ir.Model) -> int:
        return sum(node.op_type == self.operator for node in model.graph)

    def __call__(self, model: ir.Model) -> RewriteResult:
        """Apply the rewrite, drop the nodes it left without a reader and infer the types of the new ones.

        Raises:
            RuntimeError: the graph that it left is none, or has another interface: a mistake in the rewrite.
        """
        forbids = self.requires(model)
        if forbids:
            return self._told(0, forbids)
        before = _interface(model)
        sites = self.rewrite(model)
        if not sites:
            return self._told(0, self.why_none(model))
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        common.RemoveUnusedNodesPass()(model)
        common.RemoveUnusedFunctionsPass()(model)
        common.ShapeInferencePass()(model)
        self.ensures(model, before)
        return self._told(sites, "")

    def ensures(self, model: ir.Model, before: Interface) -> None:
        """Hold the graph that a rewrite has left against what every rewrite promises.

        Args:
            model: the graph as it is now.
            before: its inputs and outputs as they were.

        Raises:
            RuntimeError: they have other names, types or ranks; or a node reads what nothing before it gives.
        """
        after = _interface(model)
        if after != before:
            raise RuntimeError(f"{self.name}: expected the graph's inputs and outputs {before}, found {after}.")
        given: set[ir.Value | None] = {None, *model.graph.inputs, *model.graph.initializers.values()}
        for node in model.graph:
            lost = [value.name for value in node.inputs if value is not None and value not in given]
            if lost:
                raise RuntimeError(
                    f"{self.name}: {node.op_type} {node.name} reads {lost}, which nothing before it gives."
                )
            given.update(node.outputs)
        lost = [value.name for value in model.graph.outputs if value not in given]
        if lost:
            raise RuntimeError(f"{self.name}: nothing gives the graph's outputs {lost} any more.")

    def _told(self, sites: int, why_none: str) -> RewriteResult:
        LOGGER.info("%s: %d places%s", self.name, sites, f": {why_none}" if why_none else "")
        return RewriteResult(self.name, sites, why_none)


def require_order(rewrites: Iterable[Rewrite]) -> None:
    """Refuse an order in which one rewrite takes the places of another.

    Raises:
        ValueError: a rewrite comes before one that it has to come after, or one for engines before one for all.
    """
    chosen = list(rewrites)
    for index, rewrite in enumerate(chosen):
        for later in chosen[index + 1 :]:
            if later.name in rewrite.after or (rewrite.uses == ENGINES and later.uses == EVERYWHERE):
                raise ValueError(f"{rewrite.name} comes after {later.name}, not before it")


def _interface(model: ir.Model) -> Interface:
    """Name, type and rank of every input and output of a graph; ranks, since a rewrite may fix a batch."""
    ends = (*model.graph.inputs, *model.graph.outputs)
    return tuple((end.name, end.dtype, None if end.shape is None else len(end.shape)) for end in ends)
