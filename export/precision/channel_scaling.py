"""One range for all channels of a feature map that crosses memory as INT8: an exact change of a FP32 graph.

INT8 has one step per tensor, so the widest channel decides how coarsely all others are rounded. A map is
multiplied by one factor per channel in front of its quantiser, and divided by it behind. A convolution that reads
the map divides in its weights, a convolution that writes it multiplies in its own; elsewhere the factor is one
pointwise multiplication, which a compiler joins to the quantiser and its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.emit import Emitter, array_of, producer_of, set_constant
from export.precision.equalisation import to_one_range
from export.precision.linear_sum import LinearSum
from export.precision.sites import SCALED, UNSCALED, Scope, find_sites

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir


def scalable(model: ir.Model) -> dict[str, int]:
    """Feature map of the features scope -> its channels C.

    Not those that have one range already: inside a block (equalised) and in front of the upscaling (turned).
    """
    values = {value.name: value for node in model.graph for value in node.outputs}
    done = LinearSum(model).tensor
    found = {}
    for site in find_sites(model, Scope.FEATURES).features:
        value = values[site.tensor]
        channels = None if value.shape is None else value.shape[1]
        if isinstance(channels, int) and site.tensor != done and producer_of(value, "Relu") is None:
            found[site.tensor] = channels
    return found


def scale_channels(model: ir.Model, maxima: Mapping[str, np.ndarray]) -> None:
    """Scale maps to one range, in place.

    Args:
        model: a FP32 graph.
        maxima: largest magnitude per channel [C] of the tensors that :func:`scalable` names.
    """
    convolutions = {site.node for site in find_sites(model, Scope.FEATURES).convolutions}
    values = {value.name: value for node in model.graph for value in node.outputs}
    for tensor, limits in maxima.items():
        factors = to_one_range(limits)
        if factors is not None:
            _scale(values[tensor], factors, convolutions)


def _scale(value: ir.Value, factors: np.ndarray, convolutions: set[str]) -> None:
    uses = list(value.uses())
    writer, producer = producer_of(value, "Conv"), value.producer()
    if producer is None or producer.graph is None:
        raise ValueError(f"{value.name} is an input of the graph")
    emit = Emitter()
    if writer is not None and array_of(writer.inputs[1]) is not None:
        scaled = value
        for index in range(1, len(writer.inputs)):
            array = array_of(writer.inputs[index])
            if array is not None:
                set_constant(writer, index, array * factors.reshape(-1, *(1,) * (array.ndim - 1)))
    else:
        scaled = _multiplied(emit, value, factors, f"{value.name}{SCALED}")
    undone = None
    for use in uses:
        weight = array_of(use.node.inputs[1]) if use.node.name in convolutions and use.idx == 0 else None
        if weight is not None:
            use.node.replace_input_with(0, scaled)
            set_constant(use.node, 1, weight / factors.reshape(1, -1, 1, 1))
            continue
        if undone is None:
            undone = _multiplied(emit, scaled, 1.0 / factors, f"{value.name}{UNSCALED}")
        use.node.replace_input_with(use.idx, undone)
    producer.graph.insert_after(producer, emit.nodes)


def _multiplied(emit: Emitter, value: ir.Value, factors: np.ndarray, name: str) -> ir.Value:
    result = emit("Mul", value, emit.constant(factors.reshape(1, -1, 1, 1).astype(np.float32)))
    result.name, result.shape, result.type = name, value.shape, value.type
    emit.nodes[-1].name = name
    return result
