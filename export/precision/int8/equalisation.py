"""Cross-layer equalisation: an exact change of a FP32 graph that makes the activations inside its blocks even.

In ``conv - ReLU - conv``, scaling a channel before the ReLU by s > 0 and undoing it behind is exact; so it is with
LeakyReLU and PReLU. Channels are scaled to one common range, so that one step serves them all (M. Nagel et al., ICCV
2019, with measured activation ranges in place of weight ranges).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.export.graph import array_of, only_consumer, producer_of, set_constant
from defian_edge.export.precision.int8.maps import groups_of
from defian_edge.export.precision.int8.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

SMALLEST_SHARE = 1e-3
"""A channel below this share of the tensor's largest magnitude is scaled as if it had it."""
HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu")
"""Activations f with f(s x) = s f(x) for s > 0."""


def equalisable(model: ir.Model) -> dict[str, tuple[ir.Node, ir.Node]]:
    """Tensor between two convolutions -> (the one before its activation, the wide one behind), attention aside.

    Both have constant weights, nothing else reads what is between them, and the second has one group.
    """
    structure = Structure(model.graph)
    gated = {node for attention in structure.attention for node in attention.convolutions}
    pairs = {}
    for node in structure.wide:
        source = node.inputs[0]
        activation = None if source is None else source.producer()
        if node in gated or node.op_type != "Conv" or activation is None or activation.op_type not in HOMOGENEOUS:
            continue
        first = producer_of(activation.inputs[0], "Conv")
        if first is None or not _is_constant(first) or not _is_constant(node) or groups_of(node) > 1:
            continue
        between = activation.outputs[0]
        if only_consumer(first.outputs[0]) is activation and only_consumer(between) is node and between.name:
            pairs[between.name] = (first, node)
    return pairs


def _is_constant(convolution: ir.Node) -> bool:
    """Whether weights and bias are known."""
    return all(value is None or array_of(value) is not None for value in convolution.inputs[1:])


def to_one_range(limits: np.ndarray) -> np.ndarray | None:
    """Factor per channel that makes all largest magnitudes [C] the largest of them; None if all are zero."""
    largest = float(limits.max())
    return None if largest == 0.0 else largest / np.maximum(limits, SMALLEST_SHARE * largest)


def equalise_blocks(model: ir.Model, maxima: Mapping[str, np.ndarray]) -> int:
    """Scale the channels between two convolutions to one range, in place; returns the number of such pairs.

    Args:
        model: a FP32 graph.
        maxima: largest magnitude per channel [C] of every tensor that :func:`equalisable` names.
    """
    pairs = equalisable(model)
    for tensor, (first, second) in pairs.items():
        scales = to_one_range(maxima[tensor])
        if scales is None:
            continue
        multiply_outputs(first, scales)
        divide_inputs(second, scales)
    return len(pairs)


def multiply_outputs(convolution: ir.Node, factors: np.ndarray) -> None:
    """Let a convolution of constant weights write its channels times factors [C], bias included."""
    for index in range(1, len(convolution.inputs)):
        array = array_of(convolution.inputs[index])
        if array is not None:
            set_constant(convolution, index, array * factors.reshape(-1, *(1,) * (array.ndim - 1)))


def divide_inputs(convolution: ir.Node, factors: np.ndarray) -> bool:
    """Let a convolution divide the channels that it reads by factors [C].

    False if its weights are not constant, or in groups, and nothing was done.
    """
    one = convolution.op_type == "Conv" and groups_of(convolution) == 1
    weight = array_of(convolution.inputs[1]) if one else None
    if weight is not None:
        set_constant(convolution, 1, weight / factors.reshape(1, -1, 1, 1))
    return weight is not None
