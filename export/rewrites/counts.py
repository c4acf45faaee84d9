"""Sizes of the picture inside a graph, read once from its input.

Products are written out: a ``ReduceProd`` stays a kernel of its own in a compiled graph, one product does not.
"""

from __future__ import annotations

import onnx_ir as ir

from defian_edge.export.graph import Emitter


def pixel_count(graph: ir.Graph) -> ir.Value:
    """H W of the image as a float32 scalar; put in front of everything."""
    emit = Emitter()
    return _first_of_all(graph, emit, emit("Mul", _side(graph, emit, 0), _side(graph, emit, 1)))


def column_count(graph: ir.Graph) -> ir.Value:
    """W of the image as a float32 scalar; put in front of everything."""
    emit = Emitter()
    return _first_of_all(graph, emit, _side(graph, emit, 1))


def bessel_factor(graph: ir.Graph) -> ir.Value:
    """``n / (n - 1)`` for ``n = H W`` as a float32 scalar; put in front of everything."""
    emit = Emitter()
    pixels = emit("Mul", _side(graph, emit, 0), _side(graph, emit, 1))
    return _first_of_all(graph, emit, emit("Div", pixels, emit("Sub", pixels, emit.constant(1.0))))


def _side(graph: ir.Graph, emit: Emitter, axis: int) -> ir.Value:
    image = graph.inputs[0]
    place = axis + (1 if image.dtype == ir.DataType.UINT8 else 2)  # [N, H, W, 3] or [N, 3, H, W]
    size = emit("Squeeze", emit("Shape", image, start=place, end=place + 1))
    return emit("Cast", size, to=int(ir.DataType.FLOAT))


def _first_of_all(graph: ir.Graph, emit: Emitter, value: ir.Value) -> ir.Value:
    value.shape, value.type = ir.Shape([]), ir.TensorType(ir.DataType.FLOAT)
    emit.insert_before(graph[0])
    return value
