"""A block's channel attention is computed before its second convolution, so that the convolution ends the block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from defian_edge.export.graph import (
    Emitter,
    array_of,
    integers,
    nodes_of_type,
    only_consumer,
    producer_of,
    replace_value,
)
from defian_edge.export.rewrites.base import ENGINES, Rewrite
from defian_edge.export.rewrites.counts import pixel_count

SPATIAL_AXES = (2, 3)
FIRST_AND_LAST = (0, -1)
LEFT_OUT = np.array([[1, 0, -1], [1, 0, 0], [1, -1, 0]], np.float64)
"""Row per tap of a kernel of 3: what it sums of a zero-padded line, as factors of (all, first pixel, last pixel)."""


@dataclass(frozen=True)
class _Site:
    """``total = x + second(t) * gate``, where the gate begins with ``squeeze(mean(second(t)))``."""

    second: ir.Node
    mean: ir.Node
    squeeze: ir.Node
    gating: ir.Node
    gate: ir.Value


class EarlyAttention(Rewrite):
    """The mean of a convolution's output from sums of its input, and the gate in the convolution's weights.

    Let ``res = W * t`` be the block's second convolution, 3x3 with zero padding. Its mean over the picture is linear in
    nine sums per input channel: tap (i, j) sums ``t`` over all rows but the one that it never reaches (the last for
    i = 0, none for i = 1, the first for i = 2), and over columns likewise. These nine are combinations of the sums of
    ``t`` over (all, first, last) rows and (all, first, last) columns, [N, C, 3, 3] in all, so that the first 1x1
    convolution of the attention and the mean before it are one 3x3 convolution of these sums divided by H W, with
    ``A W`` spread by :data:`LEFT_OUT` along both axes as its weights (``A`` that of the 1x1 convolution).

    Then the gate g is known before the convolution runs, and ``res * g = (g W) * t``: its weights are scaled by the
    gate, output channel by output channel. A compiler adds the block's input in the convolution itself, and ``res``
    never crosses memory: 6 feature maps a block do, instead of 8.

    Weights are the same for a whole batch, gates are not: this holds for one image at a time, and the graph's batch
    becomes 1. A graph for larger batches keeps its gates apart: with constant weights and a product behind them the
    compiler writes ``res`` whether the gate is early or not, and the early one costs more (docs/rewrites.md).

    Precondition: Conv 3x3, stride 1, padding 1, constant weights, no bias, read by a ReduceMean over H x W that a Conv
    1x1 of constant weights alone reads, and by a product with [N, C, 1, 1] that an Add alone reads.
    """

    name = "early-attention"
    summary = "channel attention from sums of the second convolution's input, in that convolution's weights"
    operator = "ReduceMean"
    place = "the mean of a 3x3 convolution's output in front of channel attention"
    uses = ENGINES
    largest_batch = 1

    def rewrite(self, model: ir.Model) -> int:
        sites = [site for node in nodes_of_type(model.graph, "ReduceMean") if (site := _match(node)) is not None]
        if not sites:
            return 0
        pixels = pixel_count(model.graph)
        for site in sites:
            _replace(site, pixels)
        for value in (*model.graph.inputs, *model.graph.outputs):
            if value.shape is not None:
                value.shape = ir.Shape([1, *list(value.shape)[1:]])
        return len(sites)


def _match(mean: ir.Node) -> _Site | None:
    axes = array_of(mean.inputs[1]) if len(mean.inputs) > 1 else None
    second = producer_of(mean.inputs[0], "Conv")
    squeeze = only_consumer(mean.outputs[0], "Conv")
    if axes is None or tuple(axes) != SPATIAL_AXES or second is None or squeeze is None:
        return None
    if not _is_plain(second, 3) or len(second.inputs) > 2 or not _is_plain(squeeze, 1):
        return None
    gating = [use.node for use in second.outputs[0].uses() if use.node is not mean]
    if len(gating) != 1 or gating[0].op_type != "Mul" or only_consumer(gating[0].outputs[0], "Add") is None:
        return None
    gate = next((value for value in gating[0].inputs if value is not second.outputs[0]), None)
    if gate is None or gate.shape is None or list(gate.shape)[2:] != [1, 1] or second.outputs[0].is_graph_output():
        return None
    return _Site(second, mean, squeeze, gating[0], gate)


def _is_plain(node: ir.Node, size: int) -> bool:
    """A convolution of constant weights, stride 1, dilation 1, one group, whose output has its input's size."""
    weight, group = array_of(node.inputs[1]), node.attributes.get("group")
    return (
        weight is not None
        and weight.shape[2:] == (size, size)
        and (group is None or group.as_int() == 1)
        and integers(node, "strides", (1, 1)) == (1, 1)
        and integers(node, "dilations", (1, 1)) == (1, 1)
        and integers(node, "pads", (0, 0, 0, 0)) == (size // 2,) * 4
    )


def _replace(site: _Site, pixels: ir.Value) -> None:
    source, weight, squeeze = site.second.inputs[0], array_of(site.second.inputs[1]), array_of(site.squeeze.inputs[1])
    if source is None or weight is None or squeeze is None:
        raise ValueError(f"{site.second.name} has no constant weight")
    emit = Emitter()
    sums = emit("Div", _sums(emit, source), pixels)
    folded = np.einsum("so,ocij,ia,jb->scab", squeeze[:, :, 0, 0].astype(np.float64), weight, LEFT_OUT, LEFT_OUT)
    squeezed = emit(
        "Conv", sums, emit.constant(folded.astype(np.float32)), *site.squeeze.inputs[2:], kernel_shape=[3, 3]
    )
    emit.nodes[-1].name = site.squeeze.name
    emit.insert_before(site.squeeze)
    replace_value(site.squeeze.outputs[0], squeezed)
    emit = Emitter()
    per_filter = emit("Reshape", site.gate, emit.constant([weight.shape[0], 1, 1, 1]))
    scaled = emit("Mul", site.second.inputs[1], per_filter)
    gated = emit("Conv", source, scaled, kernel_shape=[3, 3], pads=[1] * 4)
    emit.nodes[-1].name = site.second.name
    emit.insert_before(site.gating)
    replace_value(site.gating.outputs[0], gated)


def _sums(emit: Emitter, source: ir.Value) -> ir.Value:
    """Sums of [N, C, H, W] over (all, the first, the last) rows and columns: [N, C, 3, 3]."""
    for axis in (3, 2):
        total = emit("ReduceSum", source, emit.constant([axis]), keepdims=1)
        ends = emit("Gather", source, emit.constant(list(FIRST_AND_LAST)), axis=axis)
        source = emit("Concat", total, ends, axis=axis)
    return source
