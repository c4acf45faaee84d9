"""Which tensors of a FP32 graph FP16 cannot hold: measured on images, inside the graph, so that no map is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.calibration.drift.probes import added_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LARGEST_FP16 = 65504.0
SMALLEST_NORMAL = 2.0**-14
"""Below it FP16 has fewer than 11 bits."""
HEADROOM = 4.0
"""A tensor must stay this factor below FP16's largest value on everything that was tried, and come as far above the
smallest normal one somewhere.
"""


@dataclass(frozen=True)
class BeyondFp16:
    """What FP16 cannot hold.

    Attributes:
        tensors: names of tensors that come too near FP16's largest value, that never come far enough above its
            smallest normal one (and are not zero everywhere), or that are NaN.
        sums: names of means whose sum does; the mean itself need not.
    """

    tensors: frozenset[str] = frozenset()
    sums: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Probe:
    """A tensor, and a scalar of the probed graph: its magnitude, or (``summed``) that of the sums behind a mean."""

    tensor: str
    scalar: str
    summed: bool = False


def beyond_fp16(model: ir.Model, images: Iterable[np.ndarray], pixels: int = 0) -> BeyondFp16:
    """What in a FP32 graph comes within :data:`HEADROOM` of the ends of FP16's range, or is NaN.

    Of a mean the sum is looked at as well, because an adder has to hold it. The sum grows with the image: of one with
    fewer than ``pixels`` it is scaled up to them.

    Args:
        model: FP32 graph with uint8 I/O; it is not changed. Functions are not looked into, they cast by themselves.
        images: uint8 RGB [H, W, 3] of any sizes; photos, and :func:`calibration.drift.hard_images.hard_images`.
        pixels: H * W of the largest LR image that is going to be run.
    """
    probed = ir.from_proto(ir.to_proto(model))
    probes = list(_probes(probed.graph))
    session = session_of(probed, probed=True)
    image_name, names = session.get_inputs()[0].name, [probe.scalar for probe in probes]
    largest = [0.0] * len(probes)
    for image in images:
        growth = max(1.0, pixels / (image.shape[0] * image.shape[1]))
        for index, value in enumerate(session.run(names, {image_name: image[None]})):
            seen = float(np.asarray(value)) * (growth if probes[index].summed else 1.0)
            largest[index] = max(largest[index], math.inf if math.isnan(seen) else seen)
    found: tuple[set[str], set[str]] = set(), set()
    for probe, seen in zip(probes, largest, strict=True):
        too_quiet = 0.0 < seen < SMALLEST_NORMAL * HEADROOM and not probe.summed
        if too_quiet or seen > LARGEST_FP16 / HEADROOM:
            found[probe.summed].add(probe.tensor)
    return BeyondFp16(*map(frozenset, found))


def _probes(graph: ir.Graph) -> Iterator[_Probe]:
    """Add the scalars to the graph, each behind what it looks at."""
    for node in list(graph):
        added: list[ir.Node] = []
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT and value.name:
                yield _Probe(value.name, _largest(graph, added, value))
        source, result = (node.inputs or [None])[0], node.outputs[0]
        if node.op_type == "ReduceMean" and source is not None and result.name:
            sums = added_to(added, "ReduceSum", added_to(added, "Abs", source), *node.inputs[1:])
            yield _Probe(result.name, _largest(graph, added, sums), summed=True)
        graph.insert_after(node, added)


def _largest(graph: ir.Graph, added: list[ir.Node], value: ir.Value) -> str:
    """Name of a new output: the largest magnitude, or NaN if there is one, which ReduceMax alone passes over."""
    magnitudes = added_to(added, "Abs", value)
    mean = added_to(added, "ReduceMean", magnitudes, keepdims=0)
    largest = added_to(added, "ReduceMax", magnitudes, keepdims=0)
    scalar = added_to(added, "Add", largest, added_to(added, "Sub", mean, mean))
    scalar.name, scalar.shape = f"probe.{len(graph.outputs)}", ir.Shape(())
    graph.outputs.append(scalar)
    return scalar.name
