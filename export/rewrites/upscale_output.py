"""Upscale and output convolutions become one 5x5 convolution and one pixel shuffle, exact to the border."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.export.graph import (
    Emitter,
    array_of,
    integers,
    nodes_of_type,
    only_consumer,
    producer_of,
    replace_value,
)
from defian_edge.export.rewrites.base import Rewrite
from defian_edge.export.rewrites.linear_tail import LinearTail, Stage

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class _Site:
    source: ir.Value
    end: ir.Node
    tail: LinearTail


class UpscaleOutput(Rewrite):
    """``output(shuffle(conv(x)))`` is linear in ``x``: one convolution at low resolution, then one shuffle.

    A convolution of a shuffled map is a convolution before the shuffle whose output channels hold the
    s * s phases of the result. Composing the stages gives a 5x5 kernel from C to 3 s^2 channels for
    s = 2, 3 and 4. In the interior that is the same sum.

    At the border it is not: the original pads the *high resolution* map with zeros, the composed kernel
    sees there what the first convolution would have produced outside the image. The difference is again
    linear and lives in the outer ring of low-resolution pixels: along the top edge it is a 1-D
    convolution of the first two rows, likewise at the other edges, and at a corner a small matrix on the
    corner's 2x2 pixels. These are computed from strips of the input, a negligible share of the work, and
    added everywhere times 1 on their edge and 0 elsewhere: that is pointwise, and a compiler writes no map of
    corrections as it does for strips padded to full size. A CPU multiplies in a fifth of the time that it selects in.
    :class:`~defian_edge.export.rewrites.linear_tail.LinearTail` derives all kernels in float64.

    Precondition: Conv 3x3 - DepthToSpace (CRD), once or more, then Conv 3x3, constant weights, stride 1,
    padding 1, no bias before the last convolution, every intermediate read once.
    """

    name = "upscale-output"
    summary = "upscale + output -> one 5x5 Conv and one shuffle, ring corrected"
    operator = "Conv"
    place = "a 3x3 output convolution behind 3x3 convolutions and pixel shuffles, weights constant, each read once"
    after = frozenset({"affine-folding"})

    def rewrite(self, model: ir.Model) -> int:
        sites = [site for node in nodes_of_type(model.graph, "Conv") if (site := _match(node)) is not None]
        for site in sites:
            _replace(site)
        return len(sites)


def _match(output: ir.Node) -> _Site | None:
    kernel = _kernel(output)
    bias = array_of(output.inputs[2]) if len(output.inputs) > 2 else None
    if kernel is None or (bias is None and len(output.inputs) > 2) or only_consumer(output.outputs[0], "DepthToSpace"):
        return None  # a convolution that is shuffled itself is a stage, not the end
    stages = [Stage(kernel, 1)]
    value = output.inputs[0]
    while (shuffle := producer_of(value, "DepthToSpace")) is not None:
        convolution = producer_of(shuffle.inputs[0], "Conv")
        kernel = _kernel(convolution) if convolution is not None else None
        mode = shuffle.attributes.get("mode")
        read_once = value is not None and len(value.uses()) == 1 and not value.is_graph_output()
        if convolution is None or kernel is None or len(convolution.inputs) > 2 or not read_once:
            return None
        if mode is None or mode.as_string() != "CRD" or len(convolution.outputs[0].uses()) != 1:
            return None
        stages.insert(0, Stage(kernel, shuffle.attributes["blocksize"].as_int()))
        value = convolution.inputs[0]
    if len(stages) < 2 or value is None:
        return None
    channels = stages[-1].kernel.shape[0]
    return _Site(value, output, LinearTail(stages, np.zeros(channels) if bias is None else bias))


def _kernel(convolution: ir.Node) -> np.ndarray | None:
    weight = array_of(convolution.inputs[1])
    group = convolution.attributes.get("group")
    plain = (
        integers(convolution, "strides", (1, 1)) == (1, 1)
        and integers(convolution, "dilations", (1, 1)) == (1, 1)
        and integers(convolution, "pads") == (1, 1, 1, 1)
        and (group is None or group.as_int() == 1)
    )
    return weight if plain and weight is not None and weight.shape[2:] == (3, 3) else None


def _replace(site: _Site) -> None:
    emit = Emitter()
    x, tail = site.source, site.tail
    at = _edge_masks(emit, x)
    phases = emit("Conv", x, emit.constant(tail.interior), emit.constant(tail.bias), kernel_shape=[5, 5], pads=[2] * 4)
    emit.nodes[-1].name = "upscale"
    for edge, correction in _edges(emit, x, tail, at).items():
        phases = emit("Add", phases, emit("Mul", correction, at[edge]))
    upscaled = emit("DepthToSpace", phases, blocksize=tail.scale, mode="CRD")
    emit.insert_before(site.end)
    replace_value(site.end.outputs[0], upscaled)


def _edge_masks(emit: Emitter, x: ir.Value) -> dict[str, ir.Value]:
    """1 on an edge and 0 elsewhere: [H, 1] for top and bottom, [W] for left and right."""
    masks = {}
    for axis, first, last in ((2, "top", "bottom"), (3, "left", "right")):
        size = emit("Squeeze", emit("Shape", x, start=axis, end=axis + 1))
        places = emit("Range", emit.constant(0), size, emit.constant(1))
        if axis == 2:
            places = emit("Unsqueeze", places, emit.constant([1]))
        for edge, place in ((first, emit.constant(0)), (last, emit("Sub", size, emit.constant(1)))):
            masks[edge] = emit("Where", emit("Equal", places, place), emit.constant(1.0), emit.constant(0.0))
    return masks


def _edges(emit: Emitter, x: ir.Value, tail: LinearTail, at: dict[str, ir.Value]) -> dict[str, ir.Value]:
    """What to add at each edge: rows [N, 3 s^2, 1, W] and columns [N, 3 s^2, H, 1]."""
    corrections = {}
    for vertical in ("top", "bottom"):
        row = _strip(emit, x, tail.edges[vertical], vertical, None)
        for horizontal in ("left", "right"):
            kernel = tail.corner(vertical, horizontal)
            if kernel.any():
                corner = _strip(emit, x, kernel, vertical, horizontal)
                row = emit("Add", row, emit("Mul", corner, at[horizontal]))
        corrections[vertical] = row
    for horizontal in ("left", "right"):
        corrections[horizontal] = _strip(emit, x, tail.edges[horizontal], None, horizontal)
    return corrections


def _strip(emit: Emitter, x: ir.Value, kernel: np.ndarray, vertical: str | None, horizontal: str | None) -> ir.Value:
    """Convolve the pixels next to an edge or corner down to one row, one column or one pixel.

    The strip is padded away from the edge, so that an image thinner than the strip works as well.
    """
    pads = [0, 0, 0, 0]
    trims: list[tuple[int, int, int]] = []
    for axis, side, size in ((2, vertical, kernel.shape[2]), (3, horizontal, kernel.shape[3])):
        at_end = side in ("bottom", "right")
        if side is None:
            pads[axis - 2] = pads[axis] = (size - 1) // 2
            continue
        bounds = (-size, np.iinfo(np.int64).max) if at_end else (0, size)
        x = emit("Slice", x, emit.constant([bounds[0]]), emit.constant([bounds[1]]), emit.constant([axis]))
        if size > 1:
            pads[axis - 2 if at_end else axis] = size - 1
            trims.append((axis, -1, np.iinfo(np.int64).max) if at_end else (axis, 0, 1))
    strip = emit("Conv", x, emit.constant(kernel.astype(np.float32)), kernel_shape=list(kernel.shape[2:]), pads=pads)
    for axis, start, end in trims:
        strip = emit("Slice", strip, emit.constant([start]), emit.constant([end]), emit.constant([axis]))
    return strip
