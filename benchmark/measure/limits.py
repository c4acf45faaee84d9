"""What a candidate's network computes and moves, and how fast a device could do that at best."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from defian_edge.benchmark.candidates import graph_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defian_edge.benchmark.candidates import Candidate
    from defian_edge.export.roofline.bound import Bound, Work
    from defian_edge.runtime.hardware.device import Device
    from defian_edge.runtime.profile import Shape


def can_count() -> bool:
    """Whether work can be counted here, which takes onnx-ir and PyTorch."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnx_ir", "torch"))


def work_at(candidate: Candidate, shapes: Sequence[Shape]) -> tuple[Work, ...]:
    """The work of every shape; empty for an engine whose graph is not beside it any more, or where nothing can count.

    A checkpoint is counted as the PyTorch network that runs it, an engine as the graph that it was built from; the
    bytes that its kernels move are the plan's, if its manifest has them.
    """
    if not can_count():
        return ()
    if candidate.kind == "pytorch":
        from defian_edge.export.roofline.bound import work_of_network
        from defian_edge.models.checkpoint import load_checkpoint

        network = load_checkpoint(candidate.path).network()
        return tuple(work_of_network(network, shape) for shape in shapes)
    graph = graph_of(candidate)
    if graph is None:
        return ()
    import onnx_ir as ir

    from defian_edge.export.roofline.bound import work_of

    model = ir.load(graph)
    return tuple(replace(work_of(model, shape), planned_bytes=_planned(candidate, shape)) for shape in shapes)


def _planned(candidate: Candidate, shape: Shape) -> int | None:
    """Bytes that the engine's plan moves at the profile's largest shape, scaled to this one by the pixels."""
    manifest = candidate.manifest
    if manifest is None or manifest.engine is None or manifest.engine.moved_bytes is None or manifest.profile is None:
        return None
    return round(manifest.engine.moved_bytes * prod(shape) / prod(manifest.profile.maximum))


def bounds_of(candidate: Candidate, work: Sequence[Work], device: Device | None, *, own: bool) -> tuple[Bound, ...]:
    """The roofline bounds of that work; empty without a device. ``own``: it is this machine's GPU."""
    if device is None:
        return ()
    from defian_edge.export.roofline.bound import bound_of

    return tuple(bound_of(each, device, in_use=own and candidate.on_gpu) for each in work)
