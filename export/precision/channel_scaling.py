"""One range for all channels of a feature map that is to be INT8: an exact change of a FP32 graph.

INT8 has one step per tensor, so the widest channel decides how coarsely all others are rounded. A map ``x`` is
multiplied by one factor per channel in front of its quantiser, and divided by it behind. A convolution that reads
the map divides in its weights, a convolution that writes it multiplies in its own; elsewhere the factor is one
pointwise multiplication, which a compiler joins to the quantiser and its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.emit import Emitter, array_of, only_consumer, producer_of, set_constant
from export.precision.linear_sum import LinearSum
from export.precision.sites import ATTENTION, SCALED, UNSCALED, Scope, find_sites

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

SMALLEST_SHARE = 1e-3
"""A channel below this share of the tensor's largest magnitude is scaled as if it had it."""


def scalable(model: ir.Model, scope: Scope) -> dict[str, int]:
    """Feature map -> its channels C, for all maps of the scope that have no cheaper way to one range."""
    sites = find_sites(model, scope)
    linear = LinearSum(model).tensor
    values = {value.name: value for node in model.graph for value in node.outputs}
    found = {}
    for tensor in sites.tensors:
        value = values[tensor]
        readers = [site.node for site in sites.convolutions if site.tensor == tensor]
        inside = producer_of(value, "Relu") is not None
        if tensor == linear or inside or any(ATTENTION.match(name) for name in readers) or value.shape is None:
            continue
        channels = value.shape[1]
        if isinstance(channels, int):
            found[tensor] = channels
    return found


def scale_channels(model: ir.Model, scope: Scope, limits: Mapping[str, np.ndarray]) -> None:
    """Scale maps to one range, in place.

    Args:
        model: a FP32 graph.
        scope: which readers will read INT8.
        limits: largest magnitude to represent per channel [C] of every tensor that :func:`scalable` names.
    """
    sites = find_sites(model, scope)
    everywhere = {site.tensor for site in sites.features}
    convolutions = {site.node for site in sites.convolutions}
    values = {value.name: value for node in model.graph for value in node.outputs}
    for tensor, limit in limits.items():
        largest = float(limit.max())
        if largest > 0.0:
            factors = largest / np.maximum(limit, SMALLEST_SHARE * largest)
            _scale(values[tensor], factors, convolutions, whole=tensor in everywhere)


def _scale(value: ir.Value, factors: np.ndarray, convolutions: set[str], *, whole: bool) -> None:
    uses = list(value.uses())
    producer = producer_of(value, "Conv")
    emit = Emitter()
    if whole and producer is not None and array_of(producer.inputs[1]) is not None:
        scaled = value
        for index in range(1, len(producer.inputs)):
            array = array_of(producer.inputs[index])
            if array is not None:
                set_constant(producer, index, array * factors.reshape(-1, *(1,) * (array.ndim - 1)))
    else:
        scaled = _multiplied(emit, value, factors, f"{value.name}{SCALED}")
    rest = None
    for use in uses:
        weight = array_of(use.node.inputs[1]) if use.node.name in convolutions and use.idx == 0 else None
        if weight is not None:
            use.node.replace_input_with(0, scaled)
            set_constant(use.node, 1, weight / factors.reshape(1, -1, 1, 1))
        elif whole:
            rest = rest or _multiplied(emit, scaled, 1.0 / factors, f"{value.name}{UNSCALED}")
            use.node.replace_input_with(use.idx, rest)
    node = value.producer()
    if node is None or node.graph is None:
        raise ValueError(f"{value.name} is an input of the graph")
    node.graph.insert_after(node, emit.nodes)


def _multiplied(emit: Emitter, value: ir.Value, factors: np.ndarray, name: str) -> ir.Value:
    result = emit("Mul", value, emit.constant(factors.reshape(1, -1, 1, 1).astype(np.float32)))
    result.name, result.shape, result.type = name, value.shape, value.type
    emit.nodes[-1].name = name
    return result
