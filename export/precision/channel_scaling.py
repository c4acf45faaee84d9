"""One range for all channels of a feature map that crosses memory as INT8: an exact change of a FP32 graph.

INT8 has one step per tensor, so the widest channel decides how coarsely all others are rounded. A map is multiplied
by one factor per channel in front of its quantiser. A convolution that writes it does that in its weights, one that
reads it divides in its own. A residual block's sum, ``x + result * gate``, is computed in its own scale: the
result's factor goes into the gate, which is one factor per channel anyway, and ``x`` is multiplied by the ratio of
both factors. Elsewhere it is one pointwise multiplication, which a compiler joins to the quantiser and its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.emit import Emitter, array_of, only_consumer, producer_of, set_constant
from export.precision.equalisation import to_one_range
from export.precision.linear_sum import LinearSum
from export.precision.sites import BLOCK, CARRIED, SCALED, UNSCALED, Scope, find_sites

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

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
    values = {value.name: value for node in model.graph for value in node.outputs}
    factors = {
        values[tensor]: factors for tensor, limits in maxima.items() if (factors := to_one_range(limits)) is not None
    }
    blocks = [block for block in _blocks(model) if {block.carried, block.result, block.total} & factors.keys()]
    inner = {node for block in blocks for node in (block.gating, block.addition)}
    totals = {block.total for block in blocks}
    convolutions = {site.node for site in find_sites(model, Scope.FEATURES).convolutions}
    scaled = {}
    for value, each in factors.items():
        readers = [(use.node, use.idx) for use in value.uses() if use.node not in inner]
        scaled[value] = value if value in totals or _scale_writer(value, each) else _behind(value, each, SCALED)
        _unscale(readers, scaled[value], each, convolutions)
    for block in blocks:
        block.add_in_its_own_scale(factors, scaled)


@dataclass(frozen=True)
class _Block:
    """``total = addition(carried, gating(result, gate))``."""

    gating: ir.Node
    addition: ir.Node
    carried: ir.Value
    result: ir.Value
    gate: ir.Value
    total: ir.Value

    def add_in_its_own_scale(self, factors: Mapping[ir.Value, np.ndarray], scaled: Mapping[ir.Value, ir.Value]) -> None:
        own, carried, result = (factors.get(value, np.ones(1)) for value in (self.total, self.carried, self.result))
        emit = Emitter()
        ratio = _multiplied(emit, scaled.get(self.carried, self.carried), own / carried, f"{self.total.name}{CARRIED}")
        gate = _multiplied(emit, self.gate, own / result, f"{self.total.name}.gate")
        emit.insert_before(self.gating)
        for node, old, new in (
            (self.addition, self.carried, ratio),
            (self.gating, self.result, scaled.get(self.result, self.result)),
            (self.gating, self.gate, gate),
        ):
            node.replace_input_with(list(node.inputs).index(old), new)


def _blocks(model: ir.Model) -> Iterator[_Block]:
    """All residual blocks with a gate of one pixel."""
    for node in model.graph:
        match = BLOCK.match(node.name or "")
        if node.op_type != "Conv" or match is None or match[2] != "2":
            continue
        result = node.outputs[0]
        for use in result.uses():
            addition = only_consumer(use.node.outputs[0], "Add") if use.node.op_type == "Mul" else None
            if addition is None:
                continue
            gate, carried = use.node.inputs[1 - use.idx], _other(addition, use.node.outputs[0])
            if gate is not None and carried is not None and _is_one_pixel(gate):
                yield _Block(use.node, addition, carried, result, gate, addition.outputs[0])


def _other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    return next((other for other in node.inputs if other is not value), None)


def _is_one_pixel(value: ir.Value) -> bool:
    return value.shape is not None and list(value.shape)[2:] == [1, 1]


def _scale_writer(value: ir.Value, factors: np.ndarray) -> bool:
    """Scale what a convolution writes by its weights and bias; False if something else writes it."""
    writer = producer_of(value, "Conv")
    if writer is None or array_of(writer.inputs[1]) is None:
        return False
    for index in range(1, len(writer.inputs)):
        array = array_of(writer.inputs[index])
        if array is not None:
            set_constant(writer, index, array * factors.reshape(-1, *(1,) * (array.ndim - 1)))
    return True


def _unscale(
    readers: Sequence[tuple[ir.Node, int]], scaled: ir.Value, factors: np.ndarray, convolutions: Collection[str]
) -> None:
    """Let readers of a map read it scaled: convolutions divide in their weights, others read a multiplication."""
    undone = None
    for reader, index in readers:
        mean = only_consumer(reader.outputs[0], "Conv") if reader.op_type == "ReduceMean" else None
        folding = reader if reader.name in convolutions else mean
        weight = None if folding is None or index != 0 else array_of(folding.inputs[1])
        if folding is not None and weight is not None:
            reader.replace_input_with(0, scaled)
            set_constant(folding, 1, weight / factors.reshape(1, -1, 1, 1))
            continue
        undone = undone or _behind(scaled, 1.0 / factors, UNSCALED)
        reader.replace_input_with(index, undone)


def _behind(value: ir.Value, factors: np.ndarray, suffix: str) -> ir.Value:
    producer = value.producer()
    if producer is None or producer.graph is None:
        raise ValueError(f"{value.name} is an input of the graph")
    emit = Emitter()
    result = _multiplied(emit, value, factors, f"{value.name}{suffix}")
    producer.graph.insert_after(producer, emit.nodes)
    return result


def _multiplied(emit: Emitter, value: ir.Value, factors: np.ndarray, name: str) -> ir.Value:
    result = emit("Mul", value, emit.constant(factors.reshape(1, -1, 1, 1).astype(np.float32)))
    result.name, result.shape, result.type = name, value.shape, value.type
    emit.nodes[-1].name = name
    return result
