"""Apply the rewrites and account for what each one saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.precision import Precision
from defian_edge.export.precision.variants import Variant, make_half
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.roofline.counts import statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from defian_edge.export.rewrites import Rewrite, RewriteResult
    from defian_edge.runtime.profile import ShapeProfile

MEMORY_SM = 89
"""Activation memory in the rewrite table is that of a FP16 engine for this compute capability."""


@dataclass(frozen=True)
class Step:
    """The graph after one rewrite: nodes (functions inlined), MACs, and activation memory in bytes if measured."""

    name: str
    sites: int
    nodes: int
    macs: int
    activation_bytes: int | None


def can_measure_memory() -> bool:
    """Whether TensorRT-RTX is installed, the only compiler that says its memory plan without a GPU."""
    return is_available(Target.TENSORRT_RTX)


def rewrite_with_account(
    model: ir.Model,
    rewrites: Collection[Rewrite],
    profile: ShapeProfile,
    *,
    memory: bool,
    say: Callable[[str], None] = lambda _: None,
) -> list[Step]:
    """Rewrite the model in place; the first step is the plain graph.

    Args:
        model: the plain FP32 graph.
        rewrites: which ones, in order.
        profile: nodes and MACs are counted, and memory planned, for its largest shape.
        memory: plan a FP16 engine after every rewrite that changed something.
        say: told what is being done.
    """
    steps = [_account(model, "plain export", 0, profile, memory=memory)]

    def after_each(result: RewriteResult) -> None:
        say(f"rewrite: {result.name}")
        if result.changed:
            steps.append(_account(model, result.name, result.sites, profile, memory=memory))
        else:
            last = steps[-1]
            steps.append(Step(result.name, 0, last.nodes, last.macs, last.activation_bytes))

    apply_rewrites(model, rewrites, after_each)
    return steps


def _account(model: ir.Model, name: str, sites: int, profile: ShapeProfile, *, memory: bool) -> Step:
    counted = statistics(model, profile.maximum)
    activation = planned_activation_bytes(model, profile) if memory else None
    return Step(name, sites, counted.nodes, counted.macs, activation)


def planned_activation_bytes(model: ir.Model, profile: ShapeProfile, *, plugin: bool = False) -> int | None:
    """Activation memory that TensorRT-RTX plans for the FP16 form of a FP32 graph at the profile, sm_89.

    ``plugin``: with the eigenvalue plugin instead of the function.
    """
    uint8 = model.graph.inputs[0].dtype == ir.DataType.UINT8
    graph = Variant(Precision.FP16, make_half(model)).serialise()
    options = EngineOptions(Target.TENSORRT_RTX, profile, uint8=uint8, sm=MEMORY_SM, plugin=plugin)
    return build_engine(graph, options).facts.activation_bytes
