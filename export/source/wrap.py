"""Puts what stands around a network into its graph: uint8 pictures at both ends, padding, cropping, luma.

What :mod:`.picture` and :mod:`.sizes` do in numpy, as nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from defian_edge.export.graph import Emitter, settle
from defian_edge.export.source.picture import LUMA, OFFSETS, WHITE, Channels, Order, PictureFormat
from defian_edge.export.trace.network import INPUT, OUTPUT
from defian_edge.runtime import __version__
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.producer import PRODUCER

if TYPE_CHECKING:
    from defian_edge.export.source.base import Sizes
    from defian_edge.export.source.sizes import Fit

BICUBIC = -0.5
"""The coefficient of Pillow's bicubic filter."""


def wrap(model: ir.Model, picture: PictureFormat, fit: Fit, sizes: Sizes) -> None:
    """Give a graph uint8 I/O, in place.

    Args:
        model: float32 [N, C, H, W] in, [N, C, sH, sW] out.
        picture: what the network takes for a picture.
        fit: its scale, and what it demands of sizes.
        sizes: what sizes are fixed; the others become ``batch``, ``height`` and ``width``.

    Raises:
        DefianError: the type of a value cannot be inferred, without which nothing can be made FP16.
    """
    graph = model.graph
    given, result = graph.inputs[0], graph.outputs[0]
    for value in [*graph.inputs, *(value for node in graph for value in node.outputs)]:
        if value.name in (INPUT, OUTPUT):
            value.name = f"{value.name}.given"
    image = ir.Value(name=INPUT, type=ir.TensorType(ir.DataType.UINT8), shape=_shape(sizes, 1))
    before, after = Emitter(), Emitter()
    levels = before("Transpose", before("Cast", image, to=int(ir.DataType.FLOAT)), perm=[0, 3, 1, 2])
    chroma = None
    if picture.channels is Channels.Y:
        levels, chroma = _luma_and_chroma(before, levels)
    elif picture.order is Order.BGR:
        levels = _turned(before, levels)
    values = _affine(before, levels, picture.gain, picture.offset)
    if fit.is_needed:
        for axis, side in ((2, sizes.height), (3, sizes.width)):
            values = _padded(before, values, axis, side, fit)
    _put_in_front(graph, before)
    graph.inputs[0] = image
    ir.convenience.replace_all_uses_with(given, values, replace_graph_outputs=True)
    upscaled = graph.outputs[0] if result is given else result
    if fit.is_needed:
        upscaled = _cropped(after, upscaled, image, fit)
    levels = _affine(after, upscaled, 1.0 / picture.gain, -picture.offset / picture.gain)
    if chroma is not None:
        levels = _coloured(after, levels, chroma, fit.scale)
    elif picture.order is Order.BGR:
        levels = _turned(after, levels)
    rounded = after("Round", after("Clip", levels, after.constant(0.0), after.constant(WHITE)))
    turned = after("Transpose", rounded, perm=[0, 2, 3, 1])
    final = after("Cast", turned, to=int(ir.DataType.UINT8))
    graph.extend(after.nodes)
    final.name, final.shape = OUTPUT, _shape(sizes, fit.scale)
    final.type = ir.TensorType(ir.DataType.UINT8)
    graph.outputs[0] = final
    settle(model)
    _infer(model)
    model.producer_name, model.producer_version = PRODUCER, __version__


def _shape(sizes: Sizes, scale: int) -> ir.Shape:
    times = "" if scale == 1 else f"{scale}*"
    height = f"{times}height" if sizes.height is None else scale * sizes.height
    width = f"{times}width" if sizes.width is None else scale * sizes.width
    return ir.Shape([1 if sizes.one_image else "batch", height, width, 3])


def _put_in_front(graph: ir.Graph, emit: Emitter) -> None:
    if len(graph):
        graph.insert_before(graph[0], emit.nodes)
    else:
        graph.extend(emit.nodes)


def _affine(emit: Emitter, values: ir.Value, gain: np.ndarray, offset: np.ndarray) -> ir.Value:
    """``values * gain + offset`` per channel; what changes nothing is left out."""
    if (gain != 1.0).any():
        values = emit("Mul", values, emit.constant(_per_channel(gain)))
    return emit("Add", values, emit.constant(_per_channel(offset))) if offset.any() else values


def _per_channel(numbers: np.ndarray) -> np.ndarray:
    same = numbers[:1] if (numbers == numbers[0]).all() else numbers
    return same.astype(np.float32).reshape(1, -1, 1, 1)


def _turned(emit: Emitter, values: ir.Value) -> ir.Value:
    """The three channels in the other order."""
    return emit("Gather", values, emit.constant([2, 1, 0]), axis=1)


def _mixed(emit: Emitter, values: ir.Value, matrix: np.ndarray) -> ir.Value:
    """Every pixel's channels times a matrix: a 1x1 convolution."""
    weight = matrix.astype(np.float32)[:, :, None, None]
    return emit("Conv", values, emit.constant(weight), kernel_shape=[1, 1], pads=[0] * 4)


def _luma_and_chroma(emit: Emitter, levels: ir.Value) -> tuple[ir.Value, ir.Value]:
    luma = emit("Add", _mixed(emit, levels, LUMA[:1] / WHITE), emit.constant(float(OFFSETS[0])))
    return luma, _mixed(emit, levels, LUMA[1:] / WHITE)


def _coloured(emit: Emitter, luma: ir.Value, chroma: ir.Value, scale: int) -> ir.Value:
    """RGB of the network's luma, and of chroma upscaled as Pillow does: pixels outside of the image do not count."""
    if scale > 1:
        scales = emit.constant([1.0, 1.0, float(scale), float(scale)])
        chroma = emit(
            "Resize", chroma, None, scales, mode="cubic", cubic_coeff_a=BICUBIC, exclude_outside=1,
            coordinate_transformation_mode="half_pixel",
        )  # fmt: skip
    both = emit("Concat", emit("Add", luma, emit.constant(-float(OFFSETS[0]))), chroma, axis=1)
    return _mixed(emit, both, np.linalg.inv(LUMA) * WHITE)


def _size(emit: Emitter, value: ir.Value, axis: int) -> ir.Value:
    return emit("Squeeze", emit("Shape", value, start=axis, end=axis + 1))


def _padded(emit: Emitter, values: ir.Value, axis: int, side: int | None, fit: Fit) -> ir.Value:
    """Mirrored at the end: pixels are picked by their place, which works for images of any size."""
    if side is not None and fit.padded(side) == side:
        return values
    one, two = emit.constant(1), emit.constant(2)
    here = _size(emit, values, axis)
    padded = here
    if fit.multiple > 1:
        multiple = emit.constant(fit.multiple)
        up = emit("Add", here, emit.constant(fit.multiple - 1))
        padded = emit("Mul", emit("Div", up, multiple), multiple)
    if fit.least > fit.multiple:
        padded = emit("Max", padded, emit.constant(fit.least))
    period = emit("Max", emit("Mul", emit("Sub", here, one), two), one)
    places = emit("Range", emit.constant(0), padded, one)
    inside = emit("Sub", places, emit("Mul", emit("Div", places, period), period))
    return emit("Gather", values, emit("Min", inside, emit("Sub", period, inside)), axis=axis)


def _cropped(emit: Emitter, values: ir.Value, image: ir.Value, fit: Fit) -> ir.Value:
    size = emit("Mul", emit("Shape", image, start=1, end=3), emit.constant([fit.scale] * 2))
    return emit("Slice", values, emit.constant([0, 0]), size, emit.constant([2, 3]))


def _infer(model: ir.Model) -> None:
    common.ShapeInferencePass()(model)
    for node in model.graph:
        for value in node.outputs:
            if value.dtype is None and value.uses():
                raise DefianError(
                    f"The type of {value.name}, which {node.op_type} gives, cannot be inferred.",
                    "Export the network with torch.onnx.export(..., dynamo=True), which writes types.",
                )
