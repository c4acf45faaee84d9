"""Which values of a graph are as large as the picture, which come from its size alone, and which types ONNX allows.

A feature map of a convolutional network is [N, C, H, W]; one of a network of attention may also be tokens
[N, H * W, C], windows [N * windows, pixels, C] or [N, H, W, C]. Sizes that are not known before the graph runs are
those of the picture; in a graph of one fixed size a map has at least as many elements as the picture has pixels.
"""

from __future__ import annotations

from math import prod

import onnx
import onnx_ir as ir

from defian_edge.export.graph import OPSET

WIDE = ir.DataType.FLOAT
ASKS_FOR_SIZES = frozenset({"Shape", "Size"})
BATCH = "batch"
BF16_OPSET = 22
"""Of ONNX, the first whose convolutions may be BF16."""
HALVES = {
    ir.DataType.FLOAT16: (OPSET, "tensor(float16)"),
    ir.DataType.BFLOAT16: (BF16_OPSET, "tensor(bfloat16)"),
}
"""Half type -> opset of its graphs, and what ONNX calls a tensor of it."""


class Maps:
    """Tells feature maps from vectors of statistics in one graph.

    Args:
        graph: with uint8 or float pictures, rank 4.
    """

    def __init__(self, graph: ir.Graph) -> None:
        sides = [] if graph.inputs[0].shape is None else list(graph.inputs[0].shape)[1:]
        fixed = [side for side in sides if isinstance(side, int) and side > 3]
        self._pixels = prod(fixed) if len(fixed) == 2 else None

    def is_map(self, value: ir.Value) -> bool:
        """Whether the value has the picture's height and width, in whichever layout."""
        if value.shape is None:
            return True
        shape = list(value.shape)
        if self._pixels is not None and all(isinstance(size, int) for size in shape):
            sizes = [size for size in shape if isinstance(size, int)]
            return len(sizes) > 2 and 1 not in sizes[2:] and prod(sizes) >= self._pixels
        unknown = [not isinstance(size, int) for size in shape]
        if len(shape) == 4 and (all(unknown[2:]) or (all(unknown[1:3]) and shape[3] != 1)):
            return True
        return self._is_sequence(value)

    def is_vector(self, value: ir.Value) -> bool:
        """Whether the value is a few numbers for the whole image: fewer than 4 axes, or height and width of 1."""
        shape = value.shape
        if shape is None:
            return False
        if len(shape) >= 4:
            return len(shape) == 4 and list(shape)[2:] == [1, 1]
        return not (self.is_map(value) if self._pixels is not None else self._is_sequence(value))

    @staticmethod
    def _is_sequence(value: ir.Value) -> bool:
        """Tokens and windows: [N, places, C], [places, pixels, C] and what has 5 axes and more."""
        shape = [] if value.shape is None else list(value.shape)
        unknown = [not isinstance(size, int) for size in shape]
        if not shape or len(shape) in (1, 2, 4) or shape[-1] == 1:
            return False
        batched = not unknown[0] or _named(shape[0]) == BATCH
        return any(unknown[1:]) or not batched


def _named(size: object) -> str | None:
    return getattr(size, "value", None)


def from_sizes_alone(graph: ir.Graph) -> set[ir.Node]:
    """Nodes that compute floats from the picture's size and constants, not from its values."""
    seen: set[ir.Value | None] = set(graph.inputs)
    alone = set()
    for node in graph:
        if node.op_type not in ASKS_FOR_SIZES and any(value in seen for value in node.inputs):
            seen.update(node.outputs)
        elif any(value.dtype == WIDE for value in node.outputs):
            alone.add(node)
    return alone


def takes(node: ir.Node, index: int, half: ir.DataType) -> bool:
    """Whether ONNX lets this input of a node be of a half type; custom operators take any."""
    return _allows(node, index, half, inputs=True)


def gives(node: ir.Node, half: ir.DataType) -> bool:
    """Whether ONNX lets a node's first output, if it is FP32, be of a half type instead."""
    if node.outputs[0].dtype != WIDE:
        return True
    return node.op_type != "ConstantOfShape" and _allows(node, 0, half, inputs=False)


def _allows(node: ir.Node, index: int, half: ir.DataType, *, inputs: bool) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return True
    opset, tensor = HALVES[half]
    schema = onnx.defs.get_schema(node.op_type, opset)
    formal = schema.inputs if inputs else schema.outputs
    return not formal or tensor in formal[min(index, len(formal) - 1)].types
