"""Apply the rewrites and account for what each one saves: on the graph, and in the compiler's plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.kernels import Traffic, planned_traffic
from defian_edge.export.engine.plan_cache import keep_plan, plan_path, read_plan
from defian_edge.export.precision import Precision
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.roofline.counts import statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from defian_edge.export.rewrites import Rewrite, RewriteResult
    from defian_edge.runtime.profile import ShapeProfile

MEMORY_SM = 89
"""Memory, kernels and bytes in the rewrite table are those of a FP16 engine for this compute capability."""


@dataclass(frozen=True)
class Step:
    """The graph after one rewrite.

    Attributes:
        name: of the rewrite.
        sites: places that it changed.
        why_none: why it changed none; empty if it did.
        nodes, macs: of the graph, functions inlined, at the profile's largest shape.
        activation_bytes: that the compiler plans for the profile; None if it was not asked.
        traffic: kernels, and the bytes that they move, at the profile's largest shape; None likewise.
    """

    name: str
    sites: int
    nodes: int
    macs: int
    activation_bytes: int | None
    traffic: Traffic | None = None
    why_none: str = ""


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
    start: Step | None = None,
) -> list[Step]:
    """Rewrite the model in place; the first step is the graph as it came.

    Args:
        model: the plain FP32 graph.
        rewrites: which ones, in order.
        profile: nodes and MACs are counted, and memory planned, for its largest shape.
        memory: plan FP16 engines after every rewrite that changed something: one for the profile, whose memory counts,
            and one for its largest shape alone, because the plan of a range of shapes names no sizes of tensors.
        say: told what is being done.
        start: the account of the graph as it comes, if there is one already.
    """
    steps = [start or _account(model, "plain export", 0, profile, memory=memory)]

    def after_each(result: RewriteResult) -> None:
        say(f"rewrite: {result.name}")
        if result.changed:
            steps.append(_account(model, result.name, result.sites, profile, memory=memory))
        else:
            last = steps[-1]
            steps.append(replace(last, name=result.name, sites=0, why_none=result.why_none))

    apply_rewrites(model, rewrites, after_each)
    return steps


def _account(model: ir.Model, name: str, sites: int, profile: ShapeProfile, *, memory: bool) -> Step:
    counted = statistics(model, profile.maximum)
    activation, traffic = planned(model, profile) if memory else (None, None)
    return Step(name, sites, counted.nodes, counted.macs, activation, traffic)


def planned(model: ir.Model, profile: ShapeProfile, *, plugin: bool = False) -> tuple[int | None, Traffic | None]:
    """What TensorRT-RTX plans for the FP16 form of a FP32 graph, sm_89.

    Args:
        model: the FP32 graph.
        profile: activation memory is planned for all of it, traffic for its largest shape.
        plugin: with the eigenvalue plugin instead of the function.

    Returns:
        Activation memory in bytes, and the traffic.
    """
    graph, options = _asked(model, profile, plugin=plugin)
    place = plan_path(graph, options)
    known = read_plan(place)
    if known is not None:
        return known
    activation = build_engine(graph, options).facts.activation_bytes
    traffic = planned_traffic(graph, profile.maximum, sm=MEMORY_SM, uint8=options.uint8, plugin=plugin)
    keep_plan(place, activation, traffic)
    return activation, traffic


def planned_activation_bytes(model: ir.Model, profile: ShapeProfile, *, plugin: bool = False) -> int | None:
    """The activation memory of :func:`planned` alone."""
    graph, options = _asked(model, profile, plugin=plugin)
    return build_engine(graph, options).facts.activation_bytes


def _asked(model: ir.Model, profile: ShapeProfile, *, plugin: bool) -> tuple[bytes, EngineOptions]:
    """The FP16 form of a FP32 graph, and how it is to be compiled."""
    uint8 = model.graph.inputs[0].dtype == ir.DataType.UINT8
    graph = Variant(Precision.FP16, make_fp16(model)).serialise()
    return graph, EngineOptions(Target.TENSORRT_RTX, profile, uint8=uint8, sm=MEMORY_SM, plugin=plugin)
