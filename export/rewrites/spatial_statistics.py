"""The variance of DAC without shape arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.graph import Emitter, array_of, nodes_of_type, producer_of, replace_value, static_dimension
from defian_edge.export.rewrites.base import Rewrite
from defian_edge.export.rewrites.counts import bessel_factor

if TYPE_CHECKING:
    import onnx_ir as ir

SPATIAL_AXES = (2, 3)


class SpatialStatistics(Rewrite):
    """Unbiased variance over H x W, kept in rank 4 from the start.

    The exporter writes ``var = reshape(mean(c * c) * n / (n - 1))`` with ``c = x - mean(x)``, reduces
    to [N, C], multiplies and divides by counts that it reads from the shape of every tensor anew, and
    reshapes and expands back to [N, C, 1, 1]. The same number is ``mean(c * c, keepdims) * b`` with the
    Bessel factor ``b = n / (n - 1)``, ``n = H W``, which is the same for all tensors of the network and
    therefore read once, from the graph's input.

    Precondition: the chain ReduceMean - Mul - Div (by the count less one) - Reshape - Expand, in which
    neither reshape nor expand changes the number of elements, and an input image of rank 4 whose
    spatial size the reduced tensor has.
    """

    name = "spatial-statistics"
    summary = "variance in rank 4, one Bessel factor for the graph"
    operator = "ReduceMean"
    place = "the start of a variance over H x W of an image's size, as the exporter writes it"

    def rewrite(self, model: ir.Model) -> int:
        sites = [site for node in nodes_of_type(model.graph, "ReduceMean") if (site := _match(node)) is not None]
        if not sites:
            return 0
        factor = bessel_factor(model.graph)
        for mean, end in sites:
            emit = Emitter()
            kept = emit("ReduceMean", *mean.inputs, keepdims=1)
            variance = emit("Mul", kept, factor)
            shape = end.outputs[0].shape
            kept.shape, kept.type = shape, end.outputs[0].type
            emit.insert_before(mean)
            replace_value(end.outputs[0], variance)
        model.graph.sort()
        return len(sites)


def _match(mean: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """The squared deviations' ReduceMean and the Expand that ends the chain, if the chain is the exporter's."""
    axes = array_of(mean.inputs[1]) if len(mean.inputs) > 1 else None
    square = producer_of(mean.inputs[0], "Mul")
    if axes is None or tuple(axes) != SPATIAL_AXES or mean.attributes["keepdims"].as_int() != 0:
        return None
    if square is None or square.inputs[0] is not square.inputs[1]:
        return None
    chain, count = mean, None
    for op_type in ("Mul", "Div", "Reshape", "Expand"):
        following = [use.node for use in chain.outputs[0].uses() if use.node.op_type == op_type and use.idx == 0]
        if len(following) != 1:
            return None
        chain = following[0]
        if op_type == "Mul":
            count = chain.inputs[1]
        elif op_type == "Div" and not _is_one_less(chain.inputs[1], count):
            return None
    channels = static_dimension(mean.inputs[0], 1) if mean.inputs[0] is not None else None
    shape = chain.outputs[0].shape
    if channels is None or shape is None or list(shape)[1:] != [channels, 1, 1]:
        return None
    return mean, chain


def _is_one_less(value: ir.Value | None, count: ir.Value | None) -> bool:
    subtract = producer_of(value, "Sub")
    if subtract is None or not _counts_pixels(count) or not _counts_pixels(subtract.inputs[0]):
        return False
    one = array_of(subtract.inputs[1])
    return one is not None and float(one) == 1.0


def _counts_pixels(value: ir.Value | None) -> bool:
    """Whether the value is float(product of the dimensions 2 and 3 of some tensor)."""
    cast = producer_of(value, "Cast")
    product = producer_of(cast.inputs[0], "ReduceProd") if cast is not None else None
    gather = producer_of(product.inputs[0], "Gather") if product is not None else None
    shape = producer_of(gather.inputs[0], "Shape") if gather is not None else None
    axes = array_of(gather.inputs[1]) if gather is not None else None
    return shape is not None and axes is not None and tuple(axes) == SPATIAL_AXES
