"""What a finished graph really is: the share of every type in nodes, MACs and feature maps, and what that promises."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from defian_edge.export.graph import with_shape
from defian_edge.export.precision.int8.maps import rescaled
from defian_edge.export.precision.int8.sites import Scope, find_sites
from defian_edge.export.roofline.bound import FLOAT_BYTES, Work, bound_of, work_of
from defian_edge.export.roofline.counts import TYPES, type_of
from defian_edge.runtime.hardware.table import DEVICES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from defian_edge.runtime.hardware.device import Device
    from defian_edge.runtime.profile import Shape

PLUMBING = {"QuantizeLinear", "DequantizeLinear", "Cast", "Constant", "Identity"}
OF_CAPABILITY = {"7.5": "rtx2080ti", "8.0": "a100", "8.6": "rtx3090", "8.7": "agx-orin", "8.9": "rtx4090"}
OF_CAPABILITY |= {"9.0": "h100", "12.0": "rtx5090"}
"""A device of the table for a compute capability; the largest of its kind."""
EDGE = "orin-nano"
"""Stands for the target when none is named."""


@dataclass(frozen=True)
class GraphShares:
    """What one graph is at one shape.

    Attributes:
        nodes: share of the nodes by the type they compute in, without casts and Q/DQ; ``other`` is index arithmetic.
        macs: share of the convolutions' MACs by type.
        feature_bytes: share of the bytes of the C-channel feature maps by type. A map that some readers read as
            INT8 and others as FP16 exists in both and counts in both.
        total_macs: MACs by type.
        moved_bytes: image, picture and weights once, every feature map written and read once.
        int8_results: elements that INT8 convolutions write.
    """

    nodes: dict[str, float]
    macs: dict[str, float]
    feature_bytes: dict[str, float]
    total_macs: dict[str, int]
    moved_bytes: int
    int8_results: int = 0

    def seconds(self, device: Device, *, wide_results: bool = False) -> float:
        """Roofline bound: arithmetic and memory traffic at the device's published peaks, perfectly overlapped.

        ``wide_results``: what INT8 convolutions compute is written and read once more in FP32.
        """
        moved = self.moved_bytes + (2 * FLOAT_BYTES * self.int8_results if wide_results else 0)
        return bound_of(Work(self.total_macs, moved, moved), device).seconds


def feature_names(model: ir.Model) -> tuple[str, ...]:
    """The C-channel feature maps that cross memory between fused kernels, of a graph without Q/DQ."""
    return tuple(site.tensor for site in find_sites(model, Scope.FEATURES).features)


def shares_of(model: ir.Model, features: Iterable[str], shape: Shape) -> GraphShares:
    """Read the shares off a finished graph.

    Args:
        model: any precision.
        features: names from :func:`feature_names` of the graph before Q/DQ.
        shape: LR batch, height and width.
    """
    concrete = with_shape(model, shape)
    work = work_of(model, shape)
    nodes = Counter(type_of(node) for node in concrete.graph if node.op_type not in PLUMBING)
    values = {value.name: value for node in concrete.graph for value in node.outputs}
    sizes: Counter[str] = Counter()
    for name in features:
        value = values[name]
        elements = _elements(value)
        integer = [use.node.op_type == "QuantizeLinear" for use in rescaled(value).uses()]
        if any(integer):
            sizes["int8"] += elements
        if not all(integer):
            dtype = value.dtype or ir.DataType.FLOAT
            sizes[TYPES[dtype]] += int(elements * dtype.itemsize)
    return GraphShares(
        _shares(nodes),
        _shares(work.macs),
        _shares(sizes),
        work.macs,
        work.least_bytes + 2 * sum(sizes.values()),
        sum(
            _elements(node.outputs[0]) for node in concrete.graph if node.op_type == "Conv" and type_of(node) == "int8"
        ),
    )


def _elements(value: ir.Value) -> int:
    return 0 if value.shape is None else int(np.prod(value.shape.numpy()))


def _shares(counts: Counter[str] | dict[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {kind: count / total for kind, count in sorted(counts.items())} if total else {}


def verdict(
    int8: GraphShares, fp16: GraphShares, capability: str | None, target: Device | None = None, *, wide_results: bool
) -> str:
    """Whether INT8 can be expected to be faster than FP16: from shares and published peaks, never from a guess.

    Args:
        int8: the INT8 graph.
        fp16: the FP16 graph that it could replace.
        capability: compute capability of the GPU that the engine was built on, such as ``8.7``; None without an engine.
        target: the device that the engines are for, where one was named.
        wide_results: the compiler writes what INT8 convolutions compute as FP32, as TensorRT-RTX does.
    """
    device = target or DEVICES.get(EDGE if capability is None else OF_CAPABILITY.get(capability, ""))
    if device is None or device.fp16 is None or device.int8 is None:
        what = f"a GPU of {capability}" if target is None else target.name
        return f"No published peaks for {what} in the table: no expectation whether INT8 beats FP16."
    bounds = {"int8": int8.seconds(device, wide_results=wide_results), "fp16": fp16.seconds(device)}
    ratio = bounds["int8"] / bounds["fp16"]
    stands = ", which stands for a target that no engine names" if capability is None else ", the largest of its kind"
    stands = stands if target is None else ""
    expected = "can be faster" if ratio < 0.95 else "cannot be expected to be faster"
    written = (
        " TensorRT-RTX writes what INT8 convolutions compute as FP32 (docs/quantisation.md)." if wide_results else ""
    )
    return (
        f"INT8 {expected} than FP16 on {device.name}{stands}: roofline bound {1e3 * bounds['int8']:.2f} ms against "
        f"{1e3 * bounds['fp16']:.2f} ms, ratio {ratio:.2f}. A bound, not a measurement.{written}"
    )
