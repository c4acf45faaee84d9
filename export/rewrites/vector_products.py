"""Convolutions of one pixel become products and sums, which compilers fuse with their neighbours."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from defian_edge.export.graph import Emitter, array_of, integers, nodes_of_type, replace_value
from defian_edge.export.rewrites.base import ENGINES, Rewrite

if TYPE_CHECKING:
    import onnx_ir as ir


class VectorProducts(Rewrite):
    """``conv(x) = sum_k W_k x_k`` for an ``x`` that one window of the kernel covers.

    The attention's 1x1 convolutions see one pixel of C or C / 16 channels. A compiler gives each a kernel of its own,
    of a few hundred multiplications that take as long as the launch; as a product and a sum over its last axis it joins
    the activation behind it and the next product.

    Precondition: a Conv of one group and constant weights, without padding, whose input is [N, I, h, w] with the
    kernel's own h and w.
    """

    name = "vector-products"
    summary = "convolutions of a single pixel as products and sums"
    operator = "Conv"
    place = "of one group and constant weights on a map as large as its kernel"
    uses = ENGINES

    def rewrite(self, model: ir.Model) -> int:
        return sum(_replace(node) for node in nodes_of_type(model.graph, "Conv"))


def _replace(node: ir.Node) -> bool:
    weight, source, group = array_of(node.inputs[1]), node.inputs[0], node.attributes.get("group")
    fits = (
        weight is not None
        and source is not None
        and source.shape is not None
        and list(source.shape)[1:] == list(weight.shape[1:])
        and (group is None or group.as_int() == 1)
        and not any(integers(node, "pads", (0, 0, 0, 0)))
    )
    if not fits or weight is None:
        return False
    outputs, terms = weight.shape[0], prod(weight.shape[1:])
    emit = Emitter()
    row = emit("Reshape", node.inputs[0], emit.constant([-1, 1, terms]))
    products = emit("Mul", row, emit.constant(weight.reshape(1, outputs, terms)))
    total = emit("ReduceSum", products, emit.constant([2]), keepdims=0)
    if len(node.inputs) > 2:
        total = emit("Add", total, node.inputs[2])
    vector = emit("Reshape", total, emit.constant([-1, outputs, 1, 1]))
    emit.insert_before(node)
    replace_value(node.outputs[0], vector)
    return True
