"""DAC normalises its one-channel map before it is spread over the channels."""

from __future__ import annotations

import onnx_ir as ir

from defian_edge.export.graph import array_of, nodes_of_type, static_dimension
from defian_edge.export.rewrites.base import Rewrite

# Operators that treat every channel alike, so that they commute with copying one channel C times.
CHANNELWISE = {"Sub", "Mul", "Div", "Add", "Sqrt", "ReduceMean"}


class OneChannelDac(Rewrite):
    """Statistics and normalisation of the attention map on its one channel.

    The paper expands ``v`` [N, 1, H, W] to C equal channels before it subtracts their means and divides
    by their deviations. Equal channels have equal statistics, so all of that commutes with the copy:
    ``(expand(v) - mean(expand(v))) / sd(expand(v)) * s = (v - mean(v)) / sd(v) * s``, where the product
    with ``s`` [N, C, 1, 1] broadcasts. The Expand goes, and C - 1 channels of statistics with it.

    Precondition: an Expand of a one-channel map to rank 4, every path from which leads only through
    operators that treat channels alike, until it meets a tensor of C channels.
    """

    name = "one-channel-dac"
    summary = "DAC statistics on one channel instead of C"
    operator = "Expand"
    place = "a map of one channel spread over C, from which only steps that treat all channels alike lead on"
    after = frozenset({"spatial-statistics"})

    def rewrite(self, model: ir.Model) -> int:
        return sum(_rewrite_node(node) for node in nodes_of_type(model.graph, "Expand"))


def _rewrite_node(expand: ir.Node) -> bool:
    source, expanded = expand.inputs[0], expand.outputs[0]
    channels = static_dimension(expanded, 1)
    if source is None or static_dimension(source, 1) != 1 or channels in (None, 1) or expanded.is_graph_output():
        return False
    narrowed = _values_with_equal_channels(expanded)
    if narrowed is None:
        return False
    for value in narrowed:
        if value.shape is not None:
            value.shape = _with_one_channel(value.shape)
    for use in list(expanded.uses()):
        use.node.replace_input_with(use.idx, source)
    return True


def _values_with_equal_channels(expanded: ir.Value) -> set[ir.Value] | None:
    """All values computed from the expanded map alone, or None if one of them may not lose its channels."""
    equal, pending = {expanded}, [expanded]
    while pending:
        value = pending.pop()
        for use in value.uses():
            node = use.node
            if node.op_type not in CHANNELWISE or (node.op_type == "ReduceMean" and not _reduces_space(node)):
                return None
            others = [v for v in node.inputs if v is not None and v not in equal]
            if any(_has_many_channels(other) and other not in equal for other in others):
                continue  # the partner has C channels: the operator broadcasts from here on
            output = node.outputs[0]
            if output.is_graph_output():
                return None
            if output not in equal:
                equal.add(output)
                pending.append(output)
    return equal if _every_end_broadcasts(equal) else None


def _reduces_space(node: ir.Node) -> bool:
    axes = array_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return axes is not None and tuple(axes) == (2, 3)


def _has_many_channels(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) == 4 and static_dimension(value, 1) != 1


def _every_end_broadcasts(equal: set[ir.Value]) -> bool:
    """A value nobody reads would be an output lost; the walk must have ended in broadcasts only."""
    return all(value.uses() for value in equal)


def _with_one_channel(shape: ir.Shape) -> ir.Shape:
    sizes = list(shape)
    sizes[1] = 1
    return ir.Shape(sizes)
