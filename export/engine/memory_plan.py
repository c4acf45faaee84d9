"""Apply the rewrites and account for what each one saves: on the graph, and in the compiler's plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from defian_edge.export.engine.build import EngineOptions
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.plan_cache import Plan, planned, planned_traffic
from defian_edge.export.precision import Precision
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.roofline.counts import statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from defian_edge.export.engine.kernels import Traffic
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
    memory: bool | None,
    say: Callable[[str], None] = lambda _: None,
    start: Step | None = None,
) -> list[Step]:
    """Rewrite the model in place; the first step is the graph as it came.

    Args:
        model: the plain FP32 graph.
        rewrites: which ones, in order.
        profile: nodes and MACs are counted, and memory planned, for its largest shape.
        memory: whether FP16 engines are planned, see :func:`plan_of`: True after every rewrite that changed something,
            None of the graph as it comes and nowhere else, since planning takes most of the time that rewriting takes.
        say: told what is being done.
        start: the account of the graph as it comes, if there is one already.
    """
    steps = [start or _account(model, "plain export", 0, profile, memory=memory is not False)]

    def after_each(result: RewriteResult) -> None:
        say(f"rewrite: {result.name}")
        if result.changed:
            steps.append(_account(model, result.name, result.sites, profile, memory=memory is True))
        else:
            steps.append(_unchanged(steps[-1], result, memory=memory is True))

    apply_rewrites(model, rewrites, after_each)
    return steps


def _account(model: ir.Model, name: str, sites: int, profile: ShapeProfile, *, memory: bool) -> Step:
    counted = statistics(model, profile.maximum)
    plan = plan_of(model, profile) if memory else Plan(None, None)
    return Step(name, sites, counted.nodes, counted.macs, plan.activation_bytes, plan.traffic)


def _unchanged(last: Step, result: RewriteResult, *, memory: bool) -> Step:
    same = replace(last, name=result.name, sites=0, why_none=result.why_none)
    return same if memory else replace(same, activation_bytes=None, traffic=None)


def with_plan(step: Step, model: ir.Model, profile: ShapeProfile) -> Step:
    """The step with what the compiler plans for the model as it is after it, unless that is known."""
    if step.activation_bytes is not None:
        return step
    plan = plan_of(model, profile)
    return replace(step, activation_bytes=plan.activation_bytes, traffic=plan.traffic)


def plan_of(model: ir.Model, profile: ShapeProfile, *, plugin: bool = False) -> Plan:
    """What TensorRT-RTX plans for the FP16 form of a FP32 graph, sm_89.

    Two plans, unless the profile is one shape. That of the profile has the memory which its engine takes on the device,
    172.6 MB for x2; the plan of the largest shape alone takes 146.4 and is no substitute. Only that one, in turn, says
    what the kernels move, since the plan of a range of shapes names no sizes of tensors.

    Args:
        model: the FP32 graph.
        profile: activation memory is planned for all of it, traffic for its largest shape.
        plugin: with the eigenvalue plugin instead of the function.
    """
    asked = _asked(model, profile, plugin=plugin)
    plan = planned(*asked)
    return plan if plan.traffic is not None else replace(plan, traffic=planned_traffic(*asked))


def planned_activation_bytes(model: ir.Model, profile: ShapeProfile, *, plugin: bool = False) -> int | None:
    """The activation memory of :func:`plan_of` alone, which takes one plan."""
    return planned(*_asked(model, profile, plugin=plugin)).activation_bytes


def _asked(model: ir.Model, profile: ShapeProfile, *, plugin: bool) -> tuple[bytes, EngineOptions]:
    """The FP16 form of a FP32 graph, and how it is to be compiled."""
    uint8 = model.graph.inputs[0].dtype == ir.DataType.UINT8
    graph = Variant(Precision.FP16, make_fp16(model)).serialise()
    return graph, EngineOptions(Target.TENSORRT_RTX, profile, uint8=uint8, sm=MEMORY_SM, plugin=plugin)
