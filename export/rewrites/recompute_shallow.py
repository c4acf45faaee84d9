"""The shallow features are computed twice instead of being kept in memory through the whole body."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.graph import Emitter, array_of, nodes_of_type, producer_of
from defian_edge.export.rewrites.base import Rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_INPUT_CHANNELS = 4


class RecomputeShallow(Rewrite):
    """``tail(body(f0)) + f0`` with the second ``f0`` computed anew from the image.

    ``f0 = input(image)`` costs 9 * 3 * C multiplications a pixel, a thousandth of the network, but the
    global skip keeps its C channels alive from the first layer to the last. A second convolution of the
    three-channel image, with a copy of the weights so that compilers do not merge the two again, gives
    the same numbers and frees one feature map during the whole body.

    Precondition: a Conv of at most 4 input channels with constant weight, whose output is read by an Add
    whose other operand comes from a Conv, and by something else; of several such sums the last. No other Conv reads the
    same input: it would be the repetition itself.
    """

    name = "recompute-shallow"
    summary = "input convolution repeated at the end instead of keeping its output alive"
    operator = "Conv"
    place = "one of the image whose output both the body and the sum behind it read"

    def rewrite(self, model: ir.Model) -> int:
        return sum(_repeat(node) for node in nodes_of_type(model.graph, "Conv"))


def _repeat(convolution: ir.Node) -> bool:
    weight = array_of(convolution.inputs[1])
    if weight is None or weight.shape[1] > MOST_INPUT_CHANNELS or weight.shape[0] <= weight.shape[1]:
        return False
    image = convolution.inputs[0]
    if image is None or any(use.node is not convolution and use.node.op_type == "Conv" for use in image.uses()):
        return False
    shallow = convolution.outputs[0]
    skips = [use for use in shallow.uses() if _is_global_skip(use.node, shallow)]
    if not skips or len(shallow.uses()) < 2:
        return False
    last = skips[0]
    if len(skips) > 1 and convolution.graph is not None:
        places = {node: place for place, node in enumerate(convolution.graph)}
        last = max(skips, key=lambda use: places[use.node])
    emit = Emitter()
    copies = [emit.constant(array.copy()) for value in convolution.inputs[1:] if (array := array_of(value)) is not None]
    if len(copies) != len(convolution.inputs) - 1:
        return False
    attributes = {name: attribute.value for name, attribute in convolution.attributes.items()}
    again = emit("Conv", convolution.inputs[0], *copies, **attributes)
    again.shape, again.type = shallow.shape, shallow.type
    node = again.producer()
    if node is not None:
        node.name = f"{convolution.name}.again"
    emit.insert_before(last.node)
    last.node.replace_input_with(last.idx, again)
    return True


def _is_global_skip(node: ir.Node, shallow: ir.Value) -> bool:
    others = [value for value in node.inputs if value is not shallow]
    return node.op_type == "Add" and len(others) == 1 and producer_of(others[0], "Conv") is not None
