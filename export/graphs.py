"""The rewritten FP32 graphs of one export, of which every precision is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.export.engine.compiler import Target
from defian_edge.export.engine.memory_plan import Step, can_measure_memory, rewrite_with_account, with_plan
from defian_edge.export.graph import copy_of
from defian_edge.export.precision import Precision
from defian_edge.export.precision.shares import feature_names
from defian_edge.export.rewrites import Rewrite, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from defian_edge.export.options import ExportOptions
    from defian_edge.export.source.base import SourceNetwork


@dataclass(frozen=True)
class Graphs:
    """The FP32 graph with all chosen rewrites, the one with the portable ones among them, and the account of all.

    INT8 is made of the portable one. The bytes that the others save are FP16 maps and their place is the weights:
    Q/DQ needs weights that are constant, not scaled by a gate (docs/rewrites.md has what it would be worth).
    """

    whole: ir.Model
    portable: ir.Model
    steps: tuple[Step, ...]
    own: frozenset[str]
    maps: tuple[tuple[str, ...], tuple[str, ...]]
    """Names of the feature maps of both, as long as nothing is quantised in them."""

    def of(self, precision: Precision) -> ir.Model:
        """The graph of which a precision is made."""
        return self.portable if precision is Precision.INT8 else self.whole

    def features(self, precision: Precision) -> tuple[str, ...]:
        """Names of the feature maps in the graph of a precision."""
        return self.maps[precision is Precision.INT8]

    def names(self, precision: Precision) -> tuple[str, ...]:
        """Names of the rewrites that changed the graph of a precision."""
        applied = (step.name for step in self.steps if step.sites)
        return tuple(name for name in applied if precision is not Precision.INT8 or name not in self.own)


def rewritten_graphs(
    network: SourceNetwork, rewrites: Sequence[Rewrite], options: ExportOptions, say: Callable[[str], None]
) -> Graphs:
    """Take the network's graph and rewrite it: what fits everywhere first, then what engines alone profit from."""
    can_measure = can_measure_memory() and options.target is not Target.TENSORRT
    memory = options.rewrite_memory if can_measure else False
    whole = network.trace(options.io)
    everywhere = [rewrite for rewrite in rewrites if Use.PORTABLE in rewrite.uses]
    engines = [rewrite for rewrite in rewrites if Use.PORTABLE not in rewrite.uses]
    steps = rewrite_with_account(whole, everywhere, options.profile, memory=memory, say=say)
    portable = copy_of(whole)
    if engines:
        steps += rewrite_with_account(whole, engines, options.profile, memory=memory, say=say, start=steps[-1])[1:]
    if memory is not False:
        say("planning the rewritten graph")
        steps[-1] = with_plan(steps[-1], whole, options.profile)
    maps = feature_names(whole), feature_names(portable)
    return Graphs(whole, portable, tuple(steps), frozenset(rewrite.name for rewrite in engines), maps)
