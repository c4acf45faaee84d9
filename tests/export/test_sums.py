"""Sums over the whole picture that rewrites for engines rely on: large pictures, hard ones, and FP16's range."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.calibration.drift.fp16_emulation import emulate_fp16
from defian_edge.export.graph import Emitter
from defian_edge.export.precision.fp16 import to_fp16
from defian_edge.export.rewrites.early_attention import EarlyAttention
from defian_edge.export.rewrites.one_pass_variance import OnePassVariance

LARGE = [(540, 960), (2160, 3840)]
FULL, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


def graph_of(channels, outputs_of):
    """A FP32 model that reads x [n, C, h, w] and gives what ``outputs_of(emit, x)`` names."""
    emit = Emitter()
    x = ir.Value(name="x", shape=ir.Shape(["n", channels, "h", "w"]), type=ir.TensorType(FULL))
    outputs = outputs_of(emit, x)
    for name, value in outputs.items():
        value.name, value.type = name, ir.TensorType(FULL)
    graph = ir.Graph([x], list(outputs.values()), nodes=emit.nodes, opset_imports={"": 20}, name="g")
    model = ir.Model(graph, ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model)))


def run(model, x):
    return [np.asarray(value) for value in session_of(model).run(None, {"x": x.astype(np.float32)})]


def statistics(emit, x):
    """Mean and biased variance as ``spatial-statistics`` leaves them."""
    space = emit.constant([2, 3])
    mean = emit("ReduceMean", x, space, keepdims=1)
    deviation = emit("Sub", x, mean)
    variance = emit("ReduceMean", emit("Mul", deviation, deviation), space, keepdims=1)
    return {"mean": emit("Identity", mean), "variance": emit("Identity", variance)}


def one_bright_pixel(height, width, row, column):
    image = np.zeros((height, width))
    image[row, column] = 100.0
    return image


def hard(height, width):
    """Name -> [H, W]."""
    random = np.random.default_rng(0)
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    places = {"first": (0, 0), "last": (-1, -1), "right": (height // 2, -1), "left": (height // 2, 0)}
    return {
        **{f"bright pixel, {name}": one_bright_pixel(height, width, *place) for name, place in places.items()},
        "bright first column": np.where(np.arange(width) == 0, 100.0, 0.0) + np.zeros((height, 1)),
        "gradient along rows": columns + 0 * rows,
        "gradient along columns": 50 * rows + 0 * columns,
        "constant with noise of one step": 100.0 + random.integers(0, 2, (height, width)) * 2.0**-4,
        "noise": random.standard_normal((height, width)),
        "constant": np.full((height, width), 3.0),
    }


@pytest.mark.parametrize(("height", "width"), [*LARGE, (17, 23), (1, 2), (2, 1), (2, 4000)])
def test_the_variance_of_hard_pictures_does_not_cancel(height, width):
    model = graph_of(1, statistics)
    assert OnePassVariance()(model).sites == 1
    for name, image in hard(height, width).items():
        wide = image.astype(np.float32).astype(np.float64)
        mean, variance = (value.item() for value in run(model, image[None, None]))
        assert mean == pytest.approx(wide.mean(), rel=1e-5, abs=1e-5 * wide.std() + 1e-12), name
        assert variance == pytest.approx(wide.var(), rel=1e-5 + width * 2.0**-22, abs=1e-12), name


@pytest.mark.parametrize(("height", "width"), [(540, 960), (17, 23), (1, 2)])
def test_the_variance_of_hard_pictures_survives_fp16_deviations(height, width):
    model = graph_of(1, statistics)
    OnePassVariance()(model)
    to_fp16(model)
    emulated = emulate_fp16(model)
    for name, image in hard(height, width).items():
        stored = image.astype(np.float16).astype(np.float64)
        _, variance = (value.item() for value in run(emulated, stored[None, None]))
        assert variance == pytest.approx(stored.var(), rel=2e-3, abs=1e-12), name


def block(channels, random):
    """``x + (W * x) gate``, the gate from the mean of ``W * x``; its weights, and what makes the nodes."""
    squeezed = max(channels // 4, 1)
    shapes = {
        "second": (channels, channels, 3, 3),
        "down": (squeezed, channels, 1, 1),
        "up": (channels, squeezed, 1, 1),
    }
    weights = {name: random.standard_normal(shape).astype(np.float32) / 4 for name, shape in shapes.items()}
    bias = random.standard_normal(squeezed).astype(np.float32)

    def make(emit, x):
        second = emit("Conv", x, emit.constant(weights["second"]), kernel_shape=[3, 3], pads=[1] * 4)
        mean = emit("ReduceMean", second, emit.constant([2, 3]), keepdims=1)
        squeezed = emit("Conv", mean, emit.constant(weights["down"]), emit.constant(bias), kernel_shape=[1, 1])
        gate = emit("Sigmoid", emit("Conv", emit("Relu", squeezed), emit.constant(weights["up"]), kernel_shape=[1, 1]))
        total = emit("Add", x, emit("Mul", second, gate))
        return {"squeezed": emit("Identity", squeezed), "total": total}

    return weights, bias, make


def mean_of_convolution(x, weight):
    """Mean over H x W of the zero-padded convolution of [C, H, W], by its definition, in float64."""
    height, width = x.shape[1:]
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = [[padded[:, i : i + height, j : j + width].mean(axis=(1, 2)) for j in range(3)] for i in range(3)]
    return np.einsum("ocij,ijc->o", weight.astype(np.float64), np.array(windows))


@pytest.mark.parametrize(("height", "width"), [*LARGE, (17, 23), (5, 3), (1, 2), (2, 1), (1, 1)])
def test_the_mean_of_a_convolution_from_sums_of_its_input(height, width):
    random = np.random.default_rng(0)
    channels = 2 if height > 1000 else 8
    weights, bias, make = block(channels, random)
    model = graph_of(channels, make)
    assert EarlyAttention()(model).sites == 1
    assert model.graph.inputs[0].shape is not None
    assert model.graph.inputs[0].shape[0] == 1
    x = np.maximum(random.standard_normal((channels, height, width)), 0).astype(np.float32) * 20
    x[:, 0] += 50
    x[:, :, -1] -= 30  # a border that matters
    squeezed = run(model, x[None])[0].reshape(-1)
    expected = weights["down"][:, :, 0, 0] @ mean_of_convolution(x, weights["second"]) + bias
    assert np.abs(squeezed - expected).max() <= 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize(("height", "width"), [(540, 960), (5, 3)])
def test_sums_beyond_the_range_of_fp16_are_fp32_in_the_typed_graph(height, width):
    random = np.random.default_rng(0)
    weights, bias, make = block(4, random)
    model = graph_of(4, make)
    EarlyAttention()(model)
    to_fp16(model)
    for node in model.graph:
        if node.op_type in ("ReduceSum", "Concat", "Div"):
            assert node.outputs[0].dtype == FULL, node
    x = random.uniform(1000, 4000, (4, height, width)).astype(np.float16).astype(np.float32)
    if height == 540:
        assert x.sum(axis=2).min() > 65504.0  # already a row's sum
    squeezed = run(emulate_fp16(model), x[None])[0].reshape(-1)
    expected = weights["down"][:, :, 0, 0] @ mean_of_convolution(x, weights["second"]) + bias
    assert np.abs(squeezed - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("change", ["bias", "another reader", "no sum behind it", "stride"])
def test_a_block_of_another_form_is_left_alone(change):
    random = np.random.default_rng(0)

    def make(emit, x):
        weight = emit.constant(random.standard_normal((4, 4, 3, 3)).astype(np.float32))
        inputs = [x, weight, emit.constant(np.ones(4, np.float32))] if change == "bias" else [x, weight]
        strides = {"strides": [2, 2]} if change == "stride" else {}
        second = emit("Conv", *inputs, kernel_shape=[3, 3], pads=[1] * 4, **strides)
        mean = emit("ReduceMean", second, emit.constant([2, 3]), keepdims=1)
        square = emit.constant(np.ones((4, 4, 1, 1), np.float32))
        gated = emit("Mul", second, emit("Conv", mean, square, kernel_shape=[1, 1]))
        total = gated if change == "no sum behind it" else emit("Add", second if change == "stride" else x, gated)
        more = {"other": emit("Relu", second)} if change == "another reader" else {}
        return {"total": total, **more}

    model = graph_of(4, make)
    assert not EarlyAttention()(model).changed
