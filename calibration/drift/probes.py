"""Nodes that look at a FP32 graph's tensors while it runs."""

from __future__ import annotations

import onnx_ir as ir


def added_to(nodes: list[ir.Node], op_type: str, *inputs: ir.Value | None, **attributes: int) -> ir.Value:
    """Append a node to those that will be inserted; its FP32 output."""
    node = ir.node(op_type, list(inputs), attributes)
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)  # a shape is not kept without a type
    nodes.append(node)
    return node.outputs[0]
