"""How much a network pads a picture by itself, in words whose largest value a compiler sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.graph import Emitter, array_of, nodes_of_type, producer_of, replace_value
from defian_edge.export.rewrites.base import Rewrite

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

VIEWS = frozenset({"Squeeze", "Unsqueeze", "Reshape", "Gather", "Slice", "Identity"})
"""What gives numbers that it is given, and no others."""
KEEPS_SIGN = frozenset({"Add", "Mul", "Div", "Max", "Min", "Concat"})
"""What gives no negative number of integers none of which is negative."""


class RoundedUpSizes(Rewrite):
    """What a size x lacks to a multiple of n is ``(x + n - 1) // n * n - x``, which is ``-x % n``.

    Networks with windows pad by ``-x % n``. TensorRT-RTX plans memory for the largest sizes that a range of
    shapes allows; it takes a bound of the remainder of a negative number that is far too large, and every map behind
    the padding for several times its size (docs/networks.md has the figures). Of the quotient it knows the bound.

    Precondition: ``Mod`` that rounds down (``fmod`` 0), of a number times -1, by a constant above 0; the number comes
    from sizes of tensors by steps that make nothing negative, since ONNX divides integers towards 0.
    """

    name = "rounded-up-sizes"
    summary = "padding to a multiple by division, whose largest value a compiler knows"
    operator = "Mod"
    place = "what a size lacks to a multiple, as the remainder of a negative number"

    def rewrite(self, model: ir.Model) -> int:
        sites = 0
        for node in nodes_of_type(model.graph, "Mod"):
            size, multiple = _lacking(node)
            if size is None or multiple is None:
                continue
            emit = Emitter()
            up = emit("Add", size, emit.constant(multiple - 1))
            times = emit("Div", up, emit.constant(multiple))
            lacking = emit("Sub", emit("Mul", times, emit.constant(multiple)), size)
            emit.insert_before(node)
            replace_value(node.outputs[0], lacking)
            sites += 1
        return sites


def _lacking(node: ir.Node) -> tuple[ir.Value | None, np.ndarray | None]:
    """The x and n of ``-x % n``; None if the node is not that."""
    multiple = array_of(node.inputs[1])
    size = None if multiple is None else _negated(node.inputs[0], multiple.ndim)
    rounds_down = "fmod" not in node.attributes or node.attributes["fmod"].as_int() == 0
    if multiple is None or multiple.dtype.kind != "i" or multiple.size != 1 or int(multiple.reshape(-1)[0]) < 1:
        return None, None
    return (size, multiple) if rounds_down and size is not None and _is_no_less_than_0(size) else (None, None)


def _negated(value: ir.Value | None, rank: int) -> ir.Value | None:
    """The x of -x. A -1 with more axes than x, or than the rank, would be lost with them."""
    negation = producer_of(value, "Neg")
    if negation is not None:
        return negation.inputs[0]
    product = producer_of(value, "Mul")
    if product is None:
        return None
    for one, other in ((0, 1), (1, 0)):
        factor, size = array_of(product.inputs[one]), product.inputs[other]
        if factor is None or factor.size != 1 or int(factor.reshape(-1)[0]) != -1:
            continue
        known = -1 if size is None or size.shape is None else len(size.shape)
        return size if factor.ndim <= max(rank, known) else None
    return None


def _is_no_less_than_0(value: ir.Value) -> bool:
    """Whether an integer comes from sizes and constants by steps that make nothing negative."""
    pending: list[ir.Value | None] = [value]
    seen: set[ir.Node] = set()
    while pending:
        each = pending.pop()
        constant = array_of(each)
        if constant is not None:
            if constant.dtype.kind not in "iu" or bool((constant < 0).any()):
                return False
            continue
        node = None if each is None else each.producer()
        if node is None or node.op_type not in (*VIEWS, *KEEPS_SIGN, "Shape", "Size"):
            return False
        if node not in seen and node.op_type in VIEWS | KEEPS_SIGN:
            pending += node.inputs[:1] if node.op_type in VIEWS else node.inputs
        seen.add(node)
    return True
