"""INT8 by explicit Q/DQ in a FP16 graph, where TensorRT fuses them.

Symmetric, zero point 0: one scale per tensor for activations, one per output channel for weights (axis 0 of a
convolution's, axis 1 of a product's).
Weights are stored as INT8 behind a DequantizeLinear; biases and everything else stay as they are. Scales
are FP16, the type of the graph, and the integers are computed with the scale as FP16 holds it. What reads a
feature map in FP32, a mean over the picture, has a DequantizeLinear of its own with the same scale in FP32: behind a
shared one TensorRT-RTX writes the map to memory as FP16 for the other readers (``python -m tools.kernels`` shows it).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from defian_edge.calibration.drift.overshoot import QUANTISED
from defian_edge.calibration.ranges.estimators import LEVELS
from defian_edge.export.graph import Emitter, array_of, replace_value
from defian_edge.export.precision.int8.rounding import fp16_scale
from defian_edge.export.precision.int8.sites import Sites
from defian_edge.export.precision.int8.structure import AXES

if TYPE_CHECKING:
    from collections.abc import Mapping

RESIDUE = ".residue"
MOST_LEFT = 0.5 + LEVELS / 2048
"""Of a step, the most that rounding leaves: half of it, and FP16's own rounding of what was taken off."""


@dataclass(frozen=True)
class QuantisationPlan:
    """What becomes INT8 and how.

    Attributes:
        sites: the convolutions and feature maps.
        limits: tensor name -> largest magnitude that its INT8 form represents.
        weights: convolution name -> int8 weights [O, I, kh, kw], or [I, O] of a product, and their FP16 scales [O].
        two_terms: names of the convolutions that read what rounding leaves as a second term (see ``residue``).
    """

    sites: Sites = field(default_factory=lambda: Sites((), ()))
    limits: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    two_terms: frozenset[str] = frozenset()


def insert_qdq(model: ir.Model, plan: QuantisationPlan) -> int:
    """Insert the plan's Q/DQ into a FP16 graph, in place; returns the number of INT8 convolutions.

    A tensor is quantised once at most: a feature map for all its readers, another for the INT8 convolutions among
    them. Convolutions that read two terms count as one.

    Raises:
        ValueError: the graph has no such convolution or tensor, it is not FP16, or the plan has no range for it.
    """
    pairs = _Pairs(model.graph, plan.limits)
    for feature in plan.sites.features:
        pairs.for_all_readers(feature.tensor)
    nodes = {node.name: node for node in model.graph if node.op_type in AXES}
    for site in plan.sites.convolutions:
        node = nodes.get(site.node)
        if node is None or site.node not in plan.weights:
            raise ValueError(f"{site.node} cannot be quantised: it needs a node and a constant weight")
        pairs.for_reader(node, site.tensor)
        emit = Emitter()
        weight = _weight(emit, *plan.weights[site.node], AXES[node.op_type])
        weight.name = f"{site.node}.weight.dequantised"
        emit.insert_before(node)
        node.replace_input_with(1, weight)
        if site.node in plan.two_terms:
            _add_second_term(node, pairs.residue(site.tensor))
    return len(plan.sites.convolutions)


class _Pairs:
    """One QuantizeLinear per tensor, right behind its producer, and one DequantizeLinear per type of its readers."""

    def __init__(self, graph: ir.Graph, limits: Mapping[str, float]) -> None:
        self._graph = graph
        self._limits = limits
        self._values = {value.name: value for node in graph for value in node.outputs}
        self._pairs: dict[str, ir.Value] = {}

    def for_reader(self, node: ir.Node, tensor: str) -> None:
        source = node.inputs[0]
        if source is not None and source is self._pairs.get(tensor):
            return
        if source is None or source.name != tensor:
            raise ValueError(f"{node.name} does not read {tensor}")
        node.replace_input_with(0, self._pair(tensor))

    def for_all_readers(self, tensor: str) -> None:
        uses = list(self._values[tensor].uses()) if tensor in self._values else []
        pair = self._pair(tensor)
        for use in uses:
            if use.node.op_type == "Cast" and use.node.outputs[0].dtype == ir.DataType.FLOAT:
                replace_value(use.node.outputs[0], self._wide(pair))
            else:
                use.node.replace_input_with(use.idx, pair)

    def residue(self, tensor: str) -> ir.Value:
        """What rounding a tensor to INT8 leaves of it, itself rounded to INT8."""
        source, rounded = self._values[tensor], self._pairs[tensor]
        dequantise, scale = _dequantiser(rounded)
        emit = Emitter()
        left = emit("Sub", source, rounded)
        left.name, left.shape, left.type = f"{tensor}{RESIDUE}", source.shape, source.type
        self._graph.insert_after(dequantise, emit.nodes)
        return self._insert(left, float(scale) * MOST_LEFT)

    def _pair(self, tensor: str) -> ir.Value:
        if tensor not in self._pairs:
            source = self._values.get(tensor)
            if source is None or tensor not in self._limits or source.dtype != ir.DataType.FLOAT16:
                raise ValueError(f"{tensor} cannot be quantised: it needs a range and to be FP16")
            self._pairs[tensor] = self._insert(source, self._limits[tensor])
        return self._pairs[tensor]

    def _wide(self, pair: ir.Value) -> ir.Value:
        """The dequantised map in FP32."""
        dequantise, scale = _dequantiser(pair)
        emit = Emitter()
        integers, _, zero = dequantise.inputs
        wide = emit("DequantizeLinear", integers, emit.constant(scale.astype(np.float32)), zero)
        wide.name, wide.shape, wide.type = f"{pair.name}.wide", pair.shape, ir.TensorType(ir.DataType.FLOAT)
        self._graph.insert_after(dequantise, emit.nodes)
        return wide

    def _insert(self, source: ir.Value, limit: float) -> ir.Value:
        emit = Emitter()
        scale = emit.constant(fp16_scale(np.asarray(limit)))
        zero = emit.constant(np.zeros((), np.int8))
        integers = emit("QuantizeLinear", source, scale, zero)
        dequantised = emit("DequantizeLinear", integers, scale, zero)
        integers.shape = dequantised.shape = source.shape
        integers.type, dequantised.type = ir.TensorType(ir.DataType.INT8), ir.TensorType(ir.DataType.FLOAT16)
        integers.name, dequantised.name = f"{source.name}{QUANTISED}", f"{source.name}.dequantised"
        producer = source.producer()
        if producer is None:
            raise ValueError(f"{source.name} is an input of the graph and cannot be quantised")
        self._graph.insert_after(producer, emit.nodes)
        return dequantised


def _dequantiser(pair: ir.Value) -> tuple[ir.Node, np.ndarray]:
    """What makes a dequantised map, and its scale."""
    dequantise = pair.producer()
    scale = None if dequantise is None else array_of(dequantise.inputs[1])
    if dequantise is None or scale is None:
        raise ValueError(f"{pair.name} is not dequantised")
    return dequantise, scale


def _add_second_term(node: ir.Node, residue: ir.Value) -> None:
    """Convolve what rounding left as well, without bias, and add."""
    emit = Emitter()
    result = node.outputs[0]
    second = emit("Conv", residue, node.inputs[1], **{name: each.value for name, each in node.attributes.items()})
    emit.nodes[-1].name = f"{node.name}{RESIDUE}"
    total = emit("Add", result, second)
    for value in (second, total):
        value.shape, value.type = result.shape, result.type
    second.name, total.name = f"{result.name}{RESIDUE}", f"{result.name}.both"
    addition = emit.nodes[-1]
    replace_value(result, total)
    addition.replace_input_with(0, result)
    if node.graph is None:
        raise ValueError(f"{node.name} is in no graph")
    node.graph.insert_after(node, emit.nodes)


def _weight(emit: Emitter, integers: np.ndarray, scale: np.ndarray, axis: int) -> ir.Value:
    zeros = emit.constant(np.zeros(len(scale), np.int8))
    dequantised = emit("DequantizeLinear", emit.constant(integers), emit.constant(scale), zeros, axis=axis)
    dequantised.shape, dequantised.type = ir.Shape(integers.shape), ir.TensorType(ir.DataType.FLOAT16)
    return dequantised
