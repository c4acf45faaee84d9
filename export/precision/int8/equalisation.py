"""Cross-layer equalisation: an exact change of a FP32 graph that makes the activations inside its blocks even.

In ``conv - ReLU - conv``, scaling a channel before the ReLU by s > 0 and undoing it behind is exact. Channels are
scaled to one common range, so that one step serves them all (M. Nagel et al., ICCV 2019, with measured activation
ranges in place of weight ranges).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.export.graph import array_of, only_consumer, producer_of, set_constant
from defian_edge.export.precision.int8.sites import BLOCK

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

SMALLEST_SHARE = 1e-3
"""A channel below this share of the tensor's largest magnitude is scaled as if it had it."""


def equalisable(model: ir.Model) -> dict[str, tuple[ir.Node, ir.Node]]:
    """Tensor between a block's convolutions -> (the convolution before its ReLU, the one behind)."""
    pairs = {}
    for node in model.graph:
        match = BLOCK.match(node.name or "")
        if node.op_type != "Conv" or match is None or match[2] != "2":
            continue
        relu = producer_of(node.inputs[0], "Relu")
        first = None if relu is None else producer_of(relu.inputs[0], "Conv")
        if relu is None or first is None or array_of(first.inputs[1]) is None or array_of(node.inputs[1]) is None:
            continue
        if only_consumer(first.outputs[0]) is relu and only_consumer(relu.outputs[0]) is node and relu.outputs[0].name:
            pairs[relu.outputs[0].name] = (first, node)
    return pairs


def to_one_range(limits: np.ndarray) -> np.ndarray | None:
    """Factor per channel that makes all largest magnitudes [C] the largest of them; None if all are zero."""
    largest = float(limits.max())
    return None if largest == 0.0 else largest / np.maximum(limits, SMALLEST_SHARE * largest)


def equalise_blocks(model: ir.Model, maxima: Mapping[str, np.ndarray]) -> int:
    """Scale the channels between a block's convolutions to one range, in place; returns the number of blocks.

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
    """Let a convolution divide the channels that it reads by factors [C]; False if its weights are not constant."""
    weight = array_of(convolution.inputs[1])
    if weight is not None:
        set_constant(convolution, 1, weight / factors.reshape(1, -1, 1, 1))
    return weight is not None
