"""Sizes of the picture inside a graph, read once from its input."""

from __future__ import annotations

import onnx_ir as ir

from defian_edge.export.graph import Emitter


def pixel_count(graph: ir.Graph) -> ir.Value:
    """H W of the image as a float32 scalar; put in front of everything."""
    return _product(graph, 0, 2)


def column_count(graph: ir.Graph) -> ir.Value:
    """W of the image as a float32 scalar; put in front of everything."""
    return _product(graph, 1, 2)


def _product(graph: ir.Graph, start: int, end: int) -> ir.Value:
    image = graph.inputs[0]
    first = 1 if image.dtype == ir.DataType.UINT8 else 2  # [N, H, W, 3] or [N, 3, H, W]
    emit = Emitter()
    size = emit("Shape", image, start=first + start, end=first + end)
    count = emit("ReduceProd", emit("Cast", size, to=int(ir.DataType.FLOAT)), keepdims=0)
    count.shape, count.type = ir.Shape([]), ir.TensorType(ir.DataType.FLOAT)
    emit.insert_before(graph[0])
    return count
