"""Which tensors FP16 cannot hold, on graphs whose values are known."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx_ir as ir
import pytest

from defian_edge.calibration.ranges.fp16_range import HEADROOM, LARGEST_FP16, BeyondFp16, beyond_fp16
from defian_edge.export.graph import Emitter, settle
from tests.conftest import REPOSITORY

LIMIT = LARGEST_FP16 / HEADROOM


def graph_of(build):
    """A graph of one image whose values ``build(emit, floats)`` names."""
    image = ir.Value(name="image", shape=ir.Shape(["n", "h", "w", 3]), type=ir.TensorType(ir.DataType.UINT8))
    emit = Emitter()
    floats = emit("Cast", image, to=int(ir.DataType.FLOAT))
    floats.name = "floats"
    named = {"floats": floats, **build(emit, emit("Transpose", floats, perm=[0, 3, 1, 2]))}
    for name, value in named.items():
        value.name, value.type = name, ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([image], [list(named.values())[-1]], nodes=emit.nodes, opset_imports={"": 20}, name="g")
    model = ir.Model(graph, ir_version=10)
    settle(model)
    return model


def squares(emit, x):
    """Squares of 0 to 255 times a factor that brings 255 exactly to the limit, and their mean."""
    square = emit("Mul", emit("Mul", x, x), emit.constant(np.float32(LIMIT / 255.0**2)))
    return {"square": square, "mean": emit("ReduceMean", square, emit.constant([2, 3]), keepdims=1)}


def chain(length):
    """A graph of that many multiplications, one behind the other."""

    def build(emit, x):
        values = {}
        for index in range(length):
            x = values[f"x{index}"] = emit("Mul", x, emit.constant(np.float32(1.01)))
        return values

    return graph_of(build)


def flat(value, side=8):
    return np.full((side, side, 3), value, np.uint8)


def test_a_tensor_is_named_when_one_value_of_one_image_comes_too_near():
    def grown(emit, x):
        return {"grown": emit("Mul", x, emit.constant(np.float32(100.0)))}

    bright = flat(10)
    bright[3, 4, 1] = 200
    model = graph_of(grown)
    assert beyond_fp16(model, [flat(10), flat(160)]) == BeyondFp16()
    assert beyond_fp16(model, [flat(10), bright, flat(1)]) == BeyondFp16(frozenset({"grown"}))


def test_a_sum_is_named_though_its_mean_and_its_summands_are_small():
    model = graph_of(squares)
    dark = flat(30, side=8)  # its squares are 227, their sum over 64 pixels 14 513
    assert beyond_fp16(model, [dark]) == BeyondFp16()
    assert beyond_fp16(model, [flat(30, side=9)]) == BeyondFp16(sums=frozenset({"mean"}))


def test_a_sum_is_judged_at_the_size_that_will_be_run():
    model = graph_of(squares)
    assert beyond_fp16(model, [flat(30)], pixels=64) == BeyondFp16()
    assert beyond_fp16(model, [flat(30)], pixels=81) == BeyondFp16(sums=frozenset({"mean"}))
    assert beyond_fp16(model, [flat(30, side=9)], pixels=1) == BeyondFp16(sums=frozenset({"mean"}))


def test_a_tensor_too_small_for_fp16_is_named_unless_it_is_zero_or_larger_elsewhere():
    def faint(emit, x):
        return {"faint": emit("Mul", x, emit.constant(np.float32(2.0**-21)))}

    assert beyond_fp16(graph_of(faint), [flat(200), flat(0)]).tensors == {"faint"}
    assert beyond_fp16(graph_of(faint), [flat(0)]) == BeyondFp16()

    def small(emit, x):
        return {"small": emit("Mul", x, emit.constant(np.float32(2.0**-19)))}

    assert beyond_fp16(graph_of(small), [flat(1), flat(200)]) == BeyondFp16()


def test_no_map_is_kept_until_the_end():
    program = (
        "import resource, sys; import numpy as np; from tests.calibration.test_fp16_range import chain; "
        "from defian_edge.calibration.ranges.fp16_range import beyond_fp16; model = chain(200); "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "beyond_fp16(model, [np.full((1024, 1024, 3), 9, np.uint8)]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert int(run.stdout) < 800 * 1024  # KiB; the 200 maps are 12 MB each, 2.4 GB together


@pytest.mark.parametrize("spoilt", [(0, 0), (5, 3), (7, 7)])
def test_one_nan_among_numbers_is_found(spoilt):
    def root(emit, x):
        return {"root": emit("Sqrt", emit("Sub", x, emit.constant(np.float32(5.0))))}

    image = flat(100)
    image[spoilt] = 0
    assert beyond_fp16(graph_of(root), [flat(100)]) == BeyondFp16()
    assert beyond_fp16(graph_of(root), [image]).tensors == {"root"}
