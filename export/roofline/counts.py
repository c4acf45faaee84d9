"""What a graph holds: nodes and multiply-accumulates, counted on the graph with its functions inlined."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import onnx_ir as ir

from defian_edge.export.graph import producer_of, with_shape

if TYPE_CHECKING:
    from defian_edge.runtime.profile import Shape

WEIGHTED = ("Conv", "ConvTranspose", "MatMul")
TYPES = {
    ir.DataType.FLOAT: "fp32",
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.BFLOAT16: "bf16",
    ir.DataType.INT8: "int8",
}


@dataclass(frozen=True)
class GraphStatistics:
    """Nodes of the inlined graph (constants are not counted) and MACs of all its convolutions at one shape."""

    nodes: int
    macs: int


def statistics(model: ir.Model, shape: Shape) -> GraphStatistics:
    """Count nodes and convolution MACs for an image of (batch, height, width)."""
    concrete = with_shape(model, shape)
    return GraphStatistics(len(concrete.graph), sum(macs_of(node) for node in concrete.graph))


def macs_of(node: ir.Node) -> int:
    """Multiply-accumulates of one node with static shapes; 0 for all but convolutions and products."""
    if node.op_type not in WEIGHTED or node.inputs[1] is None:
        return 0
    if node.op_type == "MatMul":
        return _macs_of_product(node)
    weight = node.inputs[1].shape
    # Conv: every output element sums I / group * kh * kw products. ConvTranspose: every input element feeds as many.
    counted = node.outputs[0] if node.op_type == "Conv" else node.inputs[0]
    if counted is None or counted.shape is None or weight is None or not counted.shape.is_static():
        raise ValueError(f"{node.name}: shapes are not static")
    return prod(counted.shape.numpy()) * prod(weight.numpy()[1:])


def _macs_of_product(node: ir.Node) -> int:
    """Elements of the result times what each sums; 0 where the graph does not tell its shapes."""
    result, left = node.outputs[0].shape, None if node.inputs[0] is None else node.inputs[0].shape
    if result is None or left is None or not result.is_static() or not left.is_static():
        return 0
    return prod(result.numpy()) * left.numpy()[-1]


def reads_int8(node: ir.Node) -> bool:
    """Whether what goes in was quantised, so that a compiler computes the node in INT8."""
    return producer_of(node.inputs[0], "DequantizeLinear") is not None


def type_of(node: ir.Node) -> str:
    """What a node computes in: ``fp32``, ``fp16``, ``bf16``, ``int8``, or ``other``, which is index arithmetic."""
    if node.op_type in WEIGHTED and reads_int8(node):
        return "int8"
    return TYPES.get(node.outputs[0].dtype or ir.DataType.UNDEFINED, "other")
