"""INT8 by explicit Q/DQ on the residual-block convolutions of a FP16 graph.

Symmetric, zero point 0: one scale per tensor for activations, one per output channel (axis 0) for weights.
Weights are stored as INT8 behind a DequantizeLinear; biases and everything else stay as they are. Scales
are FP16, the type of the graph, and the integers are computed with the scale as FP16 holds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from export.emit import Emitter, array_of, nodes_of_type

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = 127
RESIDUAL_BLOCK = re.compile(r"^body\.\d+\.body_block\.\d+\.block\.[02]$")
SMALLEST_HALF = float(np.finfo(np.float16).tiny)


@dataclass(frozen=True)
class QuantisedConvolution:
    """A convolution to quantise: the node's name and the name of the tensor it reads."""

    node: str
    tensor: str


def residual_block_convolutions(model: ir.Model) -> list[QuantisedConvolution]:
    """The two 3x3 convolutions of every residual block, by the names of their weights."""
    return [
        QuantisedConvolution(node.name, node.inputs[0].name)
        for node in nodes_of_type(model.graph, "Conv")
        if node.name and RESIDUAL_BLOCK.match(node.name) and node.inputs[0] is not None and node.inputs[0].name
    ]


def insert_qdq(model: ir.Model, ranges: Mapping[str, float]) -> int:
    """Put Q/DQ on input and weight of the residual-block convolutions, in place; returns how many.

    Args:
        model: a typed graph (FP16 features).
        ranges: convolution name -> largest magnitude of its input.

    Raises:
        ValueError: a convolution has no range or no constant weight.
    """
    pairs: dict[ir.Value, ir.Value] = {}
    quantised = 0
    for node in nodes_of_type(model.graph, "Conv"):
        if not node.name or not RESIDUAL_BLOCK.match(node.name):
            continue
        source, weight = node.inputs[0], array_of(node.inputs[1])
        if source is None or weight is None or node.name not in ranges:
            raise ValueError(f"{node.name} cannot be quantised: it needs a range and a constant weight")
        emit = Emitter()
        if source not in pairs:
            pairs[source] = _activation_pair(emit, source, ranges[node.name])
        dequantised = _weight(emit, weight)
        dequantised.name = f"{node.name}.weight.dequantised"
        emit.insert_before(node)
        node.replace_input_with(0, pairs[source])
        node.replace_input_with(1, dequantised)
        quantised += 1
    return quantised


def _activation_pair(emit: Emitter, source: ir.Value, limit: float) -> ir.Value:
    scale = emit.constant(half_scale(np.asarray(limit)))
    zero = emit.constant(np.zeros((), np.int8))
    integers = emit("QuantizeLinear", source, scale, zero)
    dequantised = emit("DequantizeLinear", integers, scale, zero)
    integers.shape = dequantised.shape = source.shape
    integers.type, dequantised.type = ir.TensorType(ir.DataType.INT8), ir.TensorType(ir.DataType.FLOAT16)
    integers.name, dequantised.name = f"{source.name}.quantised", f"{source.name}.dequantised"
    return dequantised


def _weight(emit: Emitter, weight: np.ndarray) -> ir.Value:
    wide = weight.astype(np.float32)
    scale = half_scale(np.abs(wide).max(axis=(1, 2, 3)))
    integers = np.clip(np.rint(wide / scale.astype(np.float32)[:, None, None, None]), -LEVELS, LEVELS).astype(np.int8)
    zeros = emit.constant(np.zeros(len(scale), np.int8))
    dequantised = emit("DequantizeLinear", emit.constant(integers), emit.constant(scale), zeros, axis=0)
    dequantised.shape, dequantised.type = ir.Shape(weight.shape), ir.TensorType(ir.DataType.FLOAT16)
    return dequantised


def half_scale(limit: np.ndarray) -> np.ndarray:
    """FP16 scale of a symmetric INT8 quantiser that represents magnitudes up to ``limit``; never zero."""
    return np.asarray(np.maximum(limit / LEVELS, SMALLEST_HALF), np.float16)
