"""What the compiler plans for a graph: asked once, kept for the next export. It takes seconds a plan, and no GPU."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from defian_edge.export.engine import build, kernels, lowering
from defian_edge.export.engine.build import build_engine
from defian_edge.export.engine.kernels import Traffic, traffic_in
from defian_edge.runtime.building import build as building
from defian_edge.runtime.building import compiler, function_only
from defian_edge.runtime.cache import cache_folder, keep, read_cached
from defian_edge.runtime.plugin import hessian_plugin
from defian_edge.runtime.profile import ShapeProfile

if TYPE_CHECKING:
    from defian_edge.export.engine.build import BuiltEngine, EngineOptions

FOLDER = "plans"
PACKAGE = "tensorrt-rtx"
SOURCES = (build, building, compiler, function_only, lowering, kernels, hessian_plugin)
"""What decides how a plan is asked for and read: a change of theirs makes every plan anew."""


@dataclass(frozen=True)
class Plan:
    """What one build says.

    Attributes:
        activation_bytes: that the engine needs for any shape of its profile; None if the compiler did not say.
        traffic: kernels, and the bytes that they move; None for a range of shapes, whose plan names no sizes.
    """

    activation_bytes: int | None
    traffic: Traffic | None


def planned(graph: bytes, options: EngineOptions) -> Plan:
    """What TensorRT-RTX plans for a serialised graph.

    Raises:
        DefianError: see :func:`defian_edge.export.engine.build.build_engine`.
    """
    known = read_plan(plan_path(graph, options))
    return keep_plan(graph, options, build_engine(graph, options)) if known is None else known


def planned_traffic(graph: bytes, options: EngineOptions) -> Traffic | None:
    """Kernels and bytes at the largest shape of a profile: those of an engine for that shape alone."""
    largest = options.profile.maximum
    return planned(graph, replace(options, profile=ShapeProfile(largest, largest, largest))).traffic


def keep_plan(graph: bytes, options: EngineOptions, built: BuiltEngine) -> Plan:
    """Read the plan of an engine that was built of the graph with these options, and keep it."""
    shape, traffic = options.profile.maximum, None
    if options.profile.minimum == shape:
        traffic = traffic_in(built.log, ir.from_proto(onnx.load_model_from_string(graph)), shape)
    place = plan_path(graph, options)
    if place is not None:
        moved = None if traffic is None else {"kernels": traffic.kernels, "bytes": traffic.bytes}
        keep(place, json.dumps({"activation_bytes": built.facts.activation_bytes, "traffic": moved}).encode())
    return Plan(built.facts.activation_bytes, traffic)


def plan_path(graph: bytes, options: EngineOptions) -> Path | None:
    """Where the plan of a graph is kept: by the graph, the options, the compiler's version and the code that reads it.

    None where there is no cache.
    """
    folder = cache_folder()
    if folder is None:
        return None
    digest = hashlib.sha256(graph)
    for source in SOURCES:
        digest.update(Path(str(source.__file__)).read_bytes())
    digest.update(f"{options!r} {PACKAGE} {version(PACKAGE)}".encode())
    return folder / FOLDER / f"{digest.hexdigest()[:32]}.json"


def read_plan(place: Path | None) -> Plan | None:
    """A plan that was kept; None if there is nothing that can be believed."""
    kept = None if place is None else read_cached(place)
    if kept is None:
        return None
    try:
        said = json.loads(kept)
        traffic = said["traffic"]
        moved = None if traffic is None else Traffic(_count(traffic["kernels"]), _count(traffic["bytes"]))
        activation = said["activation_bytes"]
        return Plan(None if activation is None else _count(activation), moved)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("expected a count")
    return value
