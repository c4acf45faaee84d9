"""A small ONNX model around the custom node, with the node's meaning as a model-local function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPERATOR, DOMAIN, OPSET = "MaxHessianEigenvalue", "defian", 20
END = 2**63 - 1


class _Body:
    """Nodes of the function, each with one output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:  # noqa: ANN401
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, values: Any) -> str:  # noqa: ANN401
        return self.add("Constant", value=numpy_helper.from_array(np.asarray(values)))

    def shifted(self, padded: str, dy: int, dx: int) -> str:
        ends = [END if shift == 3 else shift - 3 for shift in (dy, dx)]
        starts, ends_, axes = (self.constant(each) for each in ([3 + dy, 3 + dx], ends, [2, 3]))
        return self.add("Slice", padded, starts, ends_, axes)

    def bias(self, dilation: int, axis: int) -> str:
        picked = self.add("Gather", "bias", self.constant(dilation - 1), axis=0)
        return self.add("Unsqueeze", self.add("Gather", picked, self.constant(axis), axis=0), self.constant([1, 2]))


def _function() -> onnx.FunctionProto:
    body = _Body()
    wide = body.add("Cast", "features", to=TensorProto.FLOAT)
    padded = body.add("Pad", wide, body.constant([0, 0, 3, 3, 0, 0, 3, 3]))
    twice = body.add("Add", wide, wide)
    half = body.constant(np.float32(0.5))
    maps = []
    for d in (1, 2, 3):
        second = []
        for axis, (dy, dx) in enumerate(((0, d), (d, 0))):
            ends = body.add("Add", body.shifted(padded, -dy, -dx), body.shifted(padded, dy, dx))
            second.append(body.add("Add", body.add("Sub", ends, twice), body.bias(d, axis)))
        falling = body.add("Add", body.shifted(padded, -d, -d), body.shifted(padded, d, d))
        rising = body.add("Add", body.shifted(padded, -d, d), body.shifted(padded, d, -d))
        mixed = body.add("Add", body.add("Sub", falling, rising), body.bias(d, 2))
        difference, cross = body.add("Sub", *second), body.add("Add", mixed, mixed)
        squares = body.add("Add", body.add("Mul", difference, difference), body.add("Mul", cross, cross))
        total = body.add("Add", body.add("Add", *second), body.add("Sqrt", squares))
        maps.append(body.add("ReduceMean", body.add("Mul", total, half), body.constant([1]), keepdims=1))
    body.add("CastLike", body.add("Concat", *maps, axis=1), "features", output="maps")
    opsets = [helper.make_opsetid("", OPSET)]
    attributes = ["plugin_namespace", "plugin_version"]
    return helper.make_function(DOMAIN, OPERATOR, ["features", "bias"], ["maps"], body.nodes, opsets, attributes)


def model(channels: int, dtype: type, bias: NDArray[np.float32], *, plugin: bool = True) -> onnx.ModelProto:
    """A graph: image [N, 3, H, W] -> conv -> the custom node -> maps [N, 3, H, W], and a conv of them."""
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    generator = np.random.default_rng(1)
    into, out = generator.standard_normal((channels, 3, 3, 3)), generator.standard_normal((8, 3, 3, 3))
    identity = {"plugin_namespace": DOMAIN, "plugin_version": "1"} if plugin else {}
    nodes = [
        helper.make_node("Conv", ["image", "into"], ["features"], pads=[1] * 4),
        helper.make_node(OPERATOR, ["features", "bias"], ["maps"], domain=DOMAIN, name="eigenvalue", **identity),
        helper.make_node("Conv", ["maps", "out_of"], ["out"], pads=[1] * 4),
    ]
    constants = [
        numpy_helper.from_array(into.astype(dtype), "into"),
        numpy_helper.from_array(out.astype(dtype), "out_of"),
        numpy_helper.from_array(bias, "bias"),
    ]
    sizes = (("image", 3), ("features", channels), ("maps", 3), ("out", 8))
    image, features, maps, output = (
        helper.make_tensor_value_info(name, element, ["N", size, "H", "W"]) for name, size in sizes
    )
    graph = helper.make_graph(nodes, "eigenvalue", [image], [output, maps, features], constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    made = helper.make_model(graph, opset_imports=opsets, functions=[_function()], ir_version=10)
    onnx.checker.check_model(made)
    return made
