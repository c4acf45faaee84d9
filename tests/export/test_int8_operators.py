"""Which operators TensorRT-RTX computes in INT8 behind Q/DQ: why sites are convolutions and products, and no others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.kernels import kernels_in
from defian_edge.runtime.profile import ShapeProfile

CHANNELS, SIDE = 32, 32
rtx = pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="tensorrt-rtx is not installed")


class Graph:
    """uint8 image, a FP16 convolution, one operator behind Q/DQ, another FP16 convolution, uint8 picture."""

    def __init__(self, operator):
        self.nodes, self.initializers = [], []
        image = self.node("Transpose", self.node("Cast", "image", to=TensorProto.FLOAT16), perm=[0, 3, 1, 2])
        self.scale, self.zero = self.constant(np.float16(0.1)), self.constant(np.int8(0))
        features = self.node("Relu", self.node("Conv", image, self.weights(CHANNELS, 3), pads=[1] * 4))
        picture = self.node("Conv", self.node("Relu", operator(self, features)), self.weights(3, 32), pads=[1] * 4)
        wide = self.node("Cast", self.node("Transpose", picture, perm=[0, 2, 3, 1]), to=TensorProto.FLOAT)
        self.nodes[-1].output[0] = wide
        self.nodes.append(helper.make_node("Cast", [wide], ["upscaled"], to=TensorProto.UINT8))

    def constant(self, array):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weights(self, outputs, inputs):
        return self.constant(np.full((outputs, inputs, 3, 3), 0.01, np.float16))

    def node(self, operator, *inputs, **attributes):
        name = f"{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def int8(self, value):
        quantised = self.node("QuantizeLinear", value, self.scale, self.zero)
        return self.node("DequantizeLinear", quantised, self.scale, self.zero)

    def int8_weights(self, shape, axis):
        integers = np.random.default_rng(0).integers(-127, 128, shape).astype(np.int8)
        scales, zeros = np.full(shape[axis], 0.001, np.float16), np.zeros(shape[axis], np.int8)
        constants = (self.constant(each) for each in (integers, scales, zeros))
        return self.node("DequantizeLinear", *constants, axis=axis)

    def kernels(self):
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIDE, SIDE, 3])
        picture = helper.make_tensor_value_info("upscaled", TensorProto.UINT8, None)
        graph = helper.make_graph(self.nodes, "g", [image], [picture], self.initializers)
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        options = EngineOptions(Target.TENSORRT_RTX, ShapeProfile.parse(f"1x{SIDE}x{SIDE}"), uint8=True, sm=89)
        return kernels_in(build_engine(model.SerializeToString(), options).log)


def convolution(graph, x, groups=1):
    weights = graph.int8_weights((CHANNELS, CHANNELS // groups, 3, 3), 0)
    return graph.node("Conv", graph.int8(x), weights, pads=[1] * 4, group=groups)


def transposed(graph, x):
    weights = graph.int8_weights((CHANNELS, CHANNELS, 4, 4), 1)
    return graph.node("ConvTranspose", graph.int8(x), weights, strides=[2, 2], pads=[1] * 4)


def product(graph, x):
    tokens = graph.node("Transpose", x, perm=[0, 2, 3, 1])
    result = graph.node("MatMul", graph.int8(tokens), graph.int8_weights((CHANNELS, CHANNELS), 1))
    return graph.node("Transpose", result, perm=[0, 3, 1, 2])


OPERATORS = {
    "convolution": (convolution, "correlation", "Int8", "Float"),
    "convolution in two groups": (lambda graph, x: convolution(graph, x, 2), "correlation", "Int8", "Float"),
    "product of tokens": (product, "gemm", "Int8", "Half"),
    "transposed convolution": (transposed, "deconv", "Half", "Half"),
}


@rtx
@pytest.mark.parametrize("name", OPERATORS)
def test_what_an_operator_behind_qdq_reads_and_writes(name):
    operator, kind, reads, writes = OPERATORS[name]
    found = [(each.reads[0].dtype, each.writes[0].dtype) for each in Graph(operator).kernels() if each.kind == kind]
    assert (reads, writes) in found


@rtx
def test_a_depthwise_convolution_reads_its_map_spread_over_more_channels():
    kernels = Graph(lambda graph, x: convolution(graph, x, CHANNELS)).kernels()
    [read] = [each.reads[0] for each in kernels if each.kind == "correlation" and each.reads[0].dtype == "Int8"]
    assert read.shape[1] == 4 * CHANNELS
