"""What a value of a graph is: a feature map, tokens, a strip of a map, a gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.graph import array_of, only_consumer, producer_of

if TYPE_CHECKING:
    import onnx_ir as ir

FEWEST_PIXELS = 4
"""Of a map's sides: what has fewer in both is a vector of statistics, and a strip of fewer rows is no map."""
CARRIED, SCALED, BESIDE = ".carried", ".scaled", ".beside"
"""Suffixes of what :mod:`.channel_scaling` puts in front of a sum and behind a map, and of the sums behind the
convolutions of :mod:`.upscale_basis`, which no network has of its own."""
GATES = {"Sigmoid", "HardSigmoid", "Tanh", "Softmax"}
MOVING = ("Identity", "Cast", "Expand")


def weight_shape(node: ir.Node) -> list[int]:
    """Sizes of a node's weights; empty if they are not known."""
    weight = node.inputs[1]
    array = array_of(weight)
    if array is not None:
        return list(array.shape)
    shape = [] if weight is None or weight.shape is None else list(weight.shape)
    return [size for size in shape if isinstance(size, int)]


def groups_of(convolution: ir.Node) -> int:
    """Into how many groups a convolution divides its channels."""
    group = convolution.attributes.get("group")
    return 1 if group is None else group.as_int()


def is_map(value: ir.Value | None) -> bool:
    """Whether a value is a feature map [N, C, H, W] of more than a handful of pixels, as far as is known.

    Or tokens: [N, L, C], [N, H, W, C], or windows of them.
    """
    if value is None:
        return False
    if value.shape is None:
        return True
    if len(value.shape) != 4:
        return len(value.shape) > 2 and value.shape[1] != 1
    sides = list(value.shape)[2:]
    return 1 not in sides and not all(isinstance(side, int) and side <= FEWEST_PIXELS for side in sides)


def same_size(first: ir.Value | None, second: ir.Value | None) -> bool:
    """Whether nothing that is known of two maps' shapes differs."""
    if first is None or second is None or first.shape is None or second.shape is None:
        return True
    pairs = zip(list(first.shape)[1:], list(second.shape)[1:], strict=True)
    return all(one == other for one, other in pairs if isinstance(one, int) and isinstance(other, int))


def is_strip(value: ir.Value | None) -> bool:
    """Whether the value is a few rows or columns of a map."""
    while (slicing := producer_of(value, "Slice")) is not None:
        starts, ends, axes = (
            array_of(slicing.inputs[index]) if len(slicing.inputs) > index else None for index in (1, 2, 3)
        )
        if starts is not None and ends is not None and axes is not None:
            for start, end, axis in zip(starts.tolist(), ends.tolist(), axes.tolist(), strict=True):
                taken = end - start if start * end >= 0 else -start if start < 0 else end
                if axis % 4 in (2, 3) and 0 < taken <= FEWEST_PIXELS:
                    return True
        value = slicing.inputs[0]
    return False


def gate_of(node: ir.Node) -> ir.Value | None:
    """The factor of a product that says how much of the other passes: behind a sigmoid, or spread over the other."""
    if node.op_type != "Mul" or any(value is None or array_of(value) is not None for value in node.inputs):
        return None
    first, second = node.inputs
    gates = [_ends_in_gate(value) for value in (first, second)]
    if gates[0] != gates[1]:
        return first if gates[0] else second
    spread = [_is_spread(value, other) for value, other in ((first, second), (second, first))]
    return None if spread[0] == spread[1] else first if spread[0] else second


def _ends_in_gate(value: ir.Value | None) -> bool:
    """Whether a sigmoid is behind the value, with nothing but factors and summands that are constant between."""
    producer = None if value is None else value.producer()
    while producer is not None and producer.op_type not in GATES:
        computed = [each for each in producer.inputs if each is not None and array_of(each) is None]
        passes = producer.op_type in (*MOVING, "Mul", "Add", "Sub", "Div") and len(computed) >= 1
        if not passes or (producer.op_type not in MOVING and len(computed) > 1):
            return False
        producer = computed[0].producer()
    return producer is not None


def _is_spread(value: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether the value has one channel, or one pixel, where the other has more."""
    if value is None or other is None or value.shape is None or other.shape is None:
        return False
    own, beside = list(value.shape), list(other.shape)
    if len(own) != 4 or len(beside) != 4:
        return False
    return any(mine == 1 and yours != 1 for mine, yours in zip(own[1:], beside[1:], strict=True))


def fork_of(value: ir.Value) -> ir.Value:
    """The map that a sum carries, in front of what only scales it for the sum."""
    while True:
        node = value.producer()
        if node is None or (node.name or "").endswith(SCALED):
            return value
        computed = [each for each in node.inputs if each is not None and array_of(each) is None]
        scales = node.op_type == "Mul" and len(computed) == 1
        if not scales and node.op_type not in ("Identity", "Cast"):
            return value
        value = computed[0]


def rescaled(value: ir.Value) -> ir.Value:
    """What the value's only reader makes of it, if that is a scaling of its channels; else the value."""
    reader = only_consumer(value, "Mul")
    return reader.outputs[0] if reader is not None and (reader.name or "").endswith(SCALED) else value
