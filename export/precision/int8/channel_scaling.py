"""One range for all channels of a feature map that crosses memory as INT8: an exact change of a FP32 graph.

INT8 has one step per tensor, so the widest channel decides how coarsely all others are rounded. A map is multiplied
by one factor per channel in front of its quantiser. A convolution that writes it does that in its weights, one that
reads it divides in its own. A residual block's sum, ``x + result * gate``, is computed in its own scale: the
result's factor goes into the gate, which is one factor per channel anyway, and ``x`` is multiplied by the ratio of
both factors. Without a gate, ``x + result``, the result's factor goes into the convolution that writes it. Elsewhere it
is one pointwise multiplication, which a compiler joins to the quantiser and its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.export.graph import Emitter, array_of, only_consumer, producer_of
from defian_edge.export.precision.int8.equalisation import divide_inputs, equalisable, multiply_outputs, to_one_range
from defian_edge.export.precision.int8.maps import CARRIED, SCALED
from defian_edge.export.precision.int8.sites import UNSCALED, BlockSum, block_sum
from defian_edge.export.precision.int8.structure import Block, Structure
from defian_edge.export.precision.int8.upscale_basis import LinearSum

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import onnx_ir as ir

    from defian_edge.export.precision.int8.sites import Sites


def scalable(model: ir.Model, sites: Sites) -> dict[str, int]:
    """Feature map of the features scope -> its channels C.

    Not those that have one range already: inside a block (see ``equalisation``) and in front of the upscaling (turned).

    Args:
        model: a FP32 graph.
        sites: its sites of that scope.
    """
    values = {value.name: value for node in model.graph for value in node.outputs}
    done = {LinearSum(model).tensor, *equalisable(model)}
    found = {}
    for site in sites.features:
        value = values[site.tensor]
        channels = None if value.shape is None else value.shape[1]
        if isinstance(channels, int) and site.tensor not in done:
            found[site.tensor] = channels
    return found


def scale_channels(model: ir.Model, maxima: Mapping[str, np.ndarray], sites: Sites) -> None:
    """Scale maps to one range, in place.

    Args:
        model: a FP32 graph.
        maxima: largest magnitude per channel [C] of the tensors that :func:`scalable` names.
        sites: as for :func:`scalable`; they are those of the graph as it was, from now on.
    """
    values = {value.name: value for node in model.graph for value in node.outputs}
    factors = {
        values[tensor]: factors for tensor, limits in maxima.items() if (factors := to_one_range(limits)) is not None
    }
    sums = [found for block in Structure(model.graph).blocks if (found := _sum_of(block)) is not None]
    blocks = [block for block in sums if {block.carried, block.result, block.total} & factors.keys()]
    inner = {node for block in blocks for node in (block.gating, block.addition)}
    totals = {block.total for block in blocks}
    convolutions = {site.node for site in sites.convolutions}
    scaled = {}
    for value, each in factors.items():
        readers = [(use.node, use.idx) for use in value.uses() if use.node not in inner]
        scaled[value] = value if value in totals or _scale_writer(value, each) else _behind(value, each, SCALED)
        _unscale(readers, scaled[value], each, convolutions)
    for block in blocks:
        _add_in_its_own_scale(block, factors, scaled)


def _add_in_its_own_scale(
    block: BlockSum, factors: Mapping[ir.Value, np.ndarray], scaled: Mapping[ir.Value, ir.Value]
) -> None:
    """Let a block's sum come out scaled, from its scaled inputs."""
    own, carried, result = (factors.get(value, np.ones(1)) for value in (block.total, block.carried, block.result))
    emit = Emitter()
    ratio = _multiplied(emit, scaled.get(block.carried, block.carried), own / carried, f"{block.total.name}{CARRIED}")
    if block.gating is None or block.gate is None:
        emit.insert_before(block.addition)
        block.addition.replace_input_with(list(block.addition.inputs).index(block.carried), ratio)
        writer = producer_of(block.result, "Conv")
        if writer is None:
            raise ValueError(f"{block.result.name} is no convolution's")
        multiply_outputs(writer, own)
        return
    gate = _multiplied(emit, block.gate, own / result, f"{block.total.name}.gate")
    emit.insert_before(block.gating)
    for node, old, new in (
        (block.addition, block.carried, ratio),
        (block.gating, block.result, scaled.get(block.result, block.result)),
        (block.gating, block.gate, gate),
    ):
        node.replace_input_with(list(node.inputs).index(old), new)


def _sum_of(block: Block) -> BlockSum | None:
    """The end of a block whose sum can be computed in its own scale: with a gate of one pixel, or with none."""
    last, carried = block.convolutions[-1], block.carried
    found = block_sum(last.outputs[0])
    if found is not None:
        one_pixel = found.gate is not None and found.gate.shape is not None and list(found.gate.shape)[2:] == [1, 1]
        return found if one_pixel and found.addition is block.addition else None
    if only_consumer(last.outputs[0]) is not block.addition or carried not in block.addition.inputs:
        return None
    if array_of(last.inputs[1]) is None or carried is last.outputs[0]:
        return None
    return BlockSum(None, block.addition, carried, last.outputs[0], None)


def _scale_writer(value: ir.Value, factors: np.ndarray) -> bool:
    """Scale what a convolution writes by its weights and bias; False if something else writes it."""
    writer = producer_of(value, "Conv")
    if writer is None or array_of(writer.inputs[1]) is None:
        return False
    multiply_outputs(writer, factors)
    return True


def _unscale(
    readers: Sequence[tuple[ir.Node, int]], scaled: ir.Value, factors: np.ndarray, convolutions: Collection[str]
) -> None:
    """Let readers of a map read it scaled: convolutions divide in their weights, others read a multiplication."""
    undone = None
    for reader, index in readers:
        mean = only_consumer(reader.outputs[0], "Conv") if _is_spatial_mean(reader) else None
        folding = reader if reader.name in convolutions else mean
        if folding is not None and index == 0 and divide_inputs(folding, factors):
            reader.replace_input_with(0, scaled)
            continue
        undone = undone or _behind(scaled, 1.0 / factors, UNSCALED)
        reader.replace_input_with(index, undone)


def _is_spatial_mean(node: ir.Node) -> bool:
    """Whether a node gives the mean of each channel, [N, C, 1, 1]."""
    if node.op_type == "GlobalAveragePool":
        return True
    axes = array_of(node.inputs[1]) if node.op_type == "ReduceMean" and len(node.inputs) > 1 else None
    keeps = node.attributes.get("keepdims")
    return axes is not None and sorted(axes % 4) == [2, 3] and (keeps is None or keeps.as_int() == 1)


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
