"""What a graph holds: nodes and multiply-accumulates, counted on the graph with its functions inlined."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants

if TYPE_CHECKING:
    from runtime.profile import Shape

WEIGHTED = ("Conv", "ConvTranspose")


@dataclass(frozen=True)
class GraphStatistics:
    """Nodes of the inlined graph (constants are not counted) and MACs of all its convolutions at one shape."""

    nodes: int
    macs: int


def inlined(model: ir.Model) -> ir.Model:
    """A copy of the model with its functions inlined and what depends on constants alone computed.

    Every backend does the same on loading; so this is the graph that is compiled.
    """
    copy = ir.from_proto(ir.to_proto(model))
    common.InlinePass()(copy)
    fold_constants(copy)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    common.RemoveUnusedNodesPass()(copy)
    return copy


def with_shape(model: ir.Model, shape: Shape) -> ir.Model:
    """An inlined copy whose image has this (batch, height, width), and whose tensors have static shapes."""
    copy = inlined(model)
    sizes = {"batch": shape[0], "height": shape[1], "width": shape[2]}
    for value in [*copy.graph.outputs, *(v for node in copy.graph for v in node.outputs)]:
        known = None if value.shape is None else [_concrete(size, sizes) for size in value.shape]
        value.shape = ir.Shape(known) if known is not None and None not in known else None
    image = copy.graph.inputs[0]
    channels_last = image.dtype == ir.DataType.UINT8
    image.shape = ir.Shape((*shape, 3) if channels_last else (shape[0], 3, *shape[1:]))
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(copy), data_prop=True))


def _concrete(size: int | ir.SymbolicDim, sizes: dict[str, int]) -> int | None:
    """A dimension such as ``2*height`` as a number; None if the graph does not name it."""
    if isinstance(size, int):
        return size
    factor, _, name = (size.value or "").rpartition("*")
    known = sizes.get(name.strip())
    return known * int(factor or 1) if known is not None and (factor or "1").isdigit() else None


def statistics(model: ir.Model, shape: Shape) -> GraphStatistics:
    """Count nodes and convolution MACs for an image of (batch, height, width)."""
    concrete = with_shape(model, shape)
    return GraphStatistics(len(concrete.graph), sum(macs_of(node) for node in concrete.graph))


def macs_of(node: ir.Node) -> int:
    """Multiply-accumulates of one node with static shapes; 0 for all but convolutions."""
    if node.op_type not in WEIGHTED or node.inputs[1] is None:
        return 0
    weight = node.inputs[1].shape
    # Conv: every output element sums I / group * kh * kw products. ConvTranspose: every input element feeds as many.
    counted = node.outputs[0] if node.op_type == "Conv" else node.inputs[0]
    if counted is None or counted.shape is None or weight is None or not counted.shape.is_static():
        raise ValueError(f"{node.name}: shapes are not static")
    return prod(counted.shape.numpy()) * prod(weight.numpy()[1:])
