"""ONNX files as people have them, written node by node: a small super-resolution network, and what cannot be taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

FLOAT = TensorProto.FLOAT
ANY: tuple[int | str, ...] = ("n", 3, "h", "w")


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Random float32 of about unit gain."""
    fan = int(np.prod(shape[1:])) or 1
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(fan)).astype(np.float32)


def small_nodes(scale: int = 2, channels: int = 3, width: int = 8) -> tuple[list[Any], list[Any]]:
    """Convolution, ReLU, convolution, pixel shuffle: nodes and weights, ``x`` -> ``y``."""
    initializers = [
        numpy_helper.from_array(weights(width, channels, 3, 3), "w1"),
        numpy_helper.from_array(weights(channels * scale**2, width, 3, 3, seed=1), "w2"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1] * 4),
        helper.make_node("DepthToSpace", ["c"], ["y"], blocksize=scale),
    ]
    return nodes, initializers


def model_of(
    nodes: Sequence[Any],
    initializers: Sequence[Any] = (),
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    opset: int = 17,
    **more: Any,  # noqa: ANN401
) -> onnx.ModelProto:
    """A model; by default of ``x`` and ``y``, float32 [N, 3, H, W] of any size."""
    given = inputs or [helper.make_tensor_value_info("x", FLOAT, list(ANY))]
    made = outputs or [helper.make_tensor_value_info("y", FLOAT, ["n", 3, "sh", "sw"])]
    graph = helper.make_graph(list(nodes), "given", list(given), list(made), list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **more)


def small(scale: int = 2, shape: Sequence[int | str] = ANY, opset: int = 17) -> onnx.ModelProto:
    """The small network, for pictures of that shape."""
    nodes, initializers = small_nodes(scale, int(shape[1]))
    out = [side * scale if isinstance(side, int) else None for side in shape[2:]]
    return model_of(
        nodes,
        initializers,
        [helper.make_tensor_value_info("x", FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", FLOAT, [shape[0], shape[1], *out])],
        opset,
    )


def written(model: onnx.ModelProto, path: Path) -> Path:
    """The model as a file."""
    path.write_bytes(model.SerializeToString())
    return path


def _with_output(kind: str, nodes: Sequence[Any], shape: Sequence[Any] | None, initializers: Sequence[Any] = ()):
    base, constants = small_nodes()
    out = helper.make_tensor_value_info(kind, FLOAT, shape)
    return model_of([*base, *nodes], [*constants, *initializers], outputs=[out])


def classifier() -> onnx.ModelProto:
    """Ends in the mean over height and width."""
    nodes = [helper.make_node("ReduceMean", ["y"], ["logits"], axes=[2, 3], keepdims=0)]
    return _with_output("logits", nodes, ["n", 3])


def two_inputs() -> onnx.ModelProto:
    nodes, initializers = small_nodes()
    ends = [helper.make_tensor_value_info(name, FLOAT, list(ANY)) for name in ("x", "noise")]
    return model_of([*nodes, helper.make_node("Identity", ["noise"], ["unused"])], initializers, ends)


def two_outputs() -> onnx.ModelProto:
    nodes, initializers = small_nodes()
    ends = [helper.make_tensor_value_info(name, FLOAT, ["n", 3, None, None]) for name in ("y", "a")]
    return model_of(nodes, initializers, outputs=ends)


def of_type(kind: int) -> onnx.ModelProto:
    nodes = [helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=2)]
    ends = [
        [helper.make_tensor_value_info("x", kind, ["n", 12, "h", "w"])],
        [helper.make_tensor_value_info("y", kind, ["n", 3, None, None])],
    ]
    return model_of(nodes, inputs=ends[0], outputs=ends[1])


def half_weights() -> onnx.ModelProto:
    half = numpy_helper.from_array(weights(3).astype(np.float16), "half")
    nodes = [helper.make_node("Cast", ["half"], ["unused"], to=FLOAT)]
    return _with_output("y", nodes, ["n", 3, None, None], [half])


def of_rank_three() -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    ends = [[helper.make_tensor_value_info(name, FLOAT, [3, "h", "w"])] for name in ("x", "y")]
    return model_of(nodes, inputs=ends[0], outputs=ends[1])


def of_no_rank() -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    ends = [[helper.make_tensor_value_info(name, FLOAT, None)] for name in ("x", "y")]
    return model_of(nodes, inputs=ends[0], outputs=ends[1])


def unknown_operator() -> onnx.ModelProto:
    nodes = [helper.make_node("Sharpen", ["x"], ["y"], domain="acme")]
    model = model_of(nodes)
    model.opset_import.append(helper.make_opsetid("acme", 1))
    return model


def branch() -> onnx.ModelProto:
    out = helper.make_tensor_value_info("z", FLOAT, None)
    bodies = [helper.make_graph([helper.make_node(kind, ["x"], ["z"])], kind, [], [out]) for kind in ("Relu", "Abs")]
    nodes = [
        helper.make_node("Constant", [], ["always"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["always"], ["y"], then_branch=bodies[0], else_branch=bodies[1]),
    ]
    return model_of(nodes)


def random_noise() -> onnx.ModelProto:
    nodes, initializers = small_nodes()
    nodes[-1] = helper.make_node("DepthToSpace", ["c"], ["d"], blocksize=2)
    more = [helper.make_node("RandomNormalLike", ["d"], ["e"]), helper.make_node("Add", ["d", "e"], ["y"])]
    return model_of([*nodes, *more], initializers)


def not_finite() -> onnx.ModelProto:
    model = small()
    bad = weights(8, 3, 3, 3)
    bad[3, 1] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(bad, "w1"))
    return model


def not_a_number() -> onnx.ModelProto:
    """As a number of the operator itself, which is no tensor."""
    nodes, initializers = small_nodes()
    nodes[-1] = helper.make_node("DepthToSpace", ["c"], ["d"], blocksize=2)
    constant = helper.make_node("Constant", [], ["k"], name="offset", value_float=float("nan"))
    return model_of([*nodes, constant, helper.make_node("Add", ["d", "k"], ["y"])], initializers)


def infinite_by_another_name() -> onnx.ModelProto:
    """Which of the constants are weights is not seen behind an Identity; what the network gives is."""
    nodes, initializers = small_nodes()
    bad = weights(8, 3, 3, 3)
    bad[3, 1] = np.inf
    nodes[0] = helper.make_node("Conv", ["x", "same"], ["a"], pads=[1] * 4)
    identity = helper.make_node("Identity", ["w1"], ["same"])
    return model_of([identity, *nodes], [numpy_helper.from_array(bad, "w1"), *initializers[1:]])


def quantised() -> onnx.ModelProto:
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "s")
    zero = numpy_helper.from_array(np.array(0, np.int8), "z")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    return model_of(nodes, [scale, zero])


def smaller() -> onnx.ModelProto:
    """A stride of two: the picture is half as large."""
    nodes = [helper.make_node("Conv", ["x", "w1"], ["y"], pads=[1] * 4, strides=[2, 2])]
    return model_of(nodes, [numpy_helper.from_array(weights(3, 3, 3, 3), "w1")])


def one_and_a_half() -> onnx.ModelProto:
    scales = numpy_helper.from_array(np.array([1, 1, 1.5, 1.5], np.float32), "scales")
    return model_of([helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear")], [scales])


def luma() -> onnx.ModelProto:
    return small(shape=("n", 1, "h", "w"))


def batch_of_four() -> onnx.ModelProto:
    return small(shape=(4, 3, "h", "w"))


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "classifier": (classifier, "has 2 dimensions: a classifier gives such"),
    "two inputs": (two_inputs, "expected one input, found 2: x, noise"),
    "two outputs": (two_outputs, "expected one output, found 2: y, a"),
    "uint8": (lambda: of_type(TensorProto.UINT8), "expected input x as float32, found uint8"),
    "float16": (lambda: of_type(TensorProto.FLOAT16), "expected input x as float32, found float16"),
    "float16 inside": (half_weights, "expected a FP32 graph, found 'half' as float16"),
    "quantised": (quantised, "expected a FP32 graph, found QuantizeLinear"),
    "rank three": (of_rank_three, r"takes \[N, C, H, W\], found that x has 3 dimensions"),
    "dynamic rank": (of_no_rank, "found no number of dimensions"),
    "unknown operator": (unknown_operator, "expected ONNX's own operators, found acme::Sharpen"),
    "branch": (branch, "without branches and loops, found If"),
    "noise": (random_noise, "the same result each time, found RandomNormalLike"),
    "NaN in a weight": (not_finite, "found NaN or Inf in 'w1'"),
    "NaN in an operator": (not_a_number, "found NaN in Constant 'offset'"),
    "Inf that no one calls a weight": (infinite_by_another_name, "gives NaN or Inf on noise of 16x384"),
    "half the size": (smaller, "no integer multiple from 1 to 16"),
    "one and a half": (one_and_a_half, "no integer multiple from 1 to 16"),
    "luma as colours": (luma, "found a graph that takes 1"),
    "a batch of four": (batch_of_four, "a batch fixed at 4"),
}
"""What cannot be exported, and what is said of it."""


def gentle(shape: Sequence[int | str] = ANY) -> onnx.ModelProto:
    """Every pixel repeated, and a little of the small network, wide enough for INT8: pictures that look like some."""
    nodes, initializers = small_nodes(width=16)
    nodes[-1] = helper.make_node("DepthToSpace", ["c"], ["d"], blocksize=2)
    numbers = {"little": np.array(0.02, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}
    nodes += [
        helper.make_node("Mul", ["d", "little"], ["e"]),
        helper.make_node("Resize", ["x", "", "scales"], ["f"], mode="nearest"),
        helper.make_node("Add", ["e", "f"], ["y"]),
    ]
    constants = [*initializers, *(numpy_helper.from_array(array, name) for name, array in numbers.items())]
    return model_of(nodes, constants, [helper.make_tensor_value_info("x", FLOAT, list(shape))])
