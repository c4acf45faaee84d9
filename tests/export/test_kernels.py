"""tools/kernels.py: the compiler's log is read right, and shows where INT8 maps really cross memory."""

from __future__ import annotations

import re
from dataclasses import replace

import onnx_ir as ir
import pytest

from defian_edge.calibration.photos import calibration_set
from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.kernels import (
    GraphReads,
    Kernel,
    Tensor,
    kernels_in,
    moved_bytes,
    peak_of,
    read_bytes,
)
from defian_edge.export.engine.plan_cache import planned_traffic
from defian_edge.export.graph import Emitter, copy_of
from defian_edge.export.precision import Precision
from defian_edge.export.precision.int8.sites import Scope
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.rewrites import PORTABLE, Use, apply_rewrites, select
from defian_edge.models.defian import Architecture
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import make_int8, random_checkpoint
from tools import kernels
from tools.kernels import int8_convolutions

LINE = (
    "Name: conv_myl0_6, LayerType: correlation, Inputs: [ { Name: a, Dimensions: [1,16,8,8], Strides: [1024,1], "
    "StrideOrder: [3,0], Datatype: Int8, Format: (NHWC) x }], Constants: [ { Name: w, Dimensions: [16,16,3,3], "
    "Datatype: Int8, Format: y }], Outputs: [ { Name: b, Dimensions: [1,16,8,8], Datatype: Half, Format: z }, "
    "{ Name: c, Dimensions: [], Datatype: Float, Format: z }], TacticName: t"
)
BLOCKS = 3
rtx = pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="tensorrt-rtx is not installed")


def test_a_kernel_is_read_without_its_constants():
    signal = "Name: __mye1_myl0_1, LayerType: signal, Inputs: [], Outputs: [], TacticName: s"
    [kernel] = kernels_in(["something else", f"Engine:\n{LINE}\n{signal}\n"])
    assert kernel == Kernel(
        "conv_myl0_6",
        "correlation",
        (Tensor((1, 16, 8, 8), "Int8"),),
        (Tensor((1, 16, 8, 8), "Half"), Tensor((), "Float")),
    )
    assert moved_bytes([kernel]) == {"Int8": 1024, "Half": 2048, "Float": 4}
    assert int8_convolutions([kernel]) == {"Half": 1}


def sliced_graph():
    """``total = sum over W of x``, and the first and last column of x beside it."""
    emit = Emitter()
    x = ir.Value(name="x", shape=ir.Shape([1, 3, "height", "width"]), type=ir.TensorType(ir.DataType.FLOAT16))
    total = emit("ReduceSum", x, emit.constant([3]), keepdims=1)
    ends = emit("Gather", x, emit.constant([0, -1]), axis=3)
    joined = emit("Concat", total, ends, axis=3)
    for node in emit.nodes:
        node.name = node.op_type
    joined.name, joined.type = "y", ir.TensorType(ir.DataType.FLOAT16)
    graph = ir.Graph([x], [joined], nodes=emit.nodes, opset_imports={"": 20}, name="g")
    return ir.Model(graph, ir_version=10)


MAP, ROWS, ENDS = (Tensor((1, 3, 8, width), "Half") for width in (6, 1, 2))


@pytest.mark.parametrize(
    ("layers", "reads", "expected"),
    [
        (("Gather", "Concat"), (ROWS, MAP), ROWS.size + ENDS.size),
        (("ReduceSum",), (MAP,), MAP.size),
        (("ReduceSum", "Gather"), (MAP,), MAP.size),
        (("ReduceSum", "Gather"), (MAP, MAP), MAP.size + ENDS.size),
        (("Gather",), (MAP, MAP), 2 * MAP.size),  # one of them the graph does not explain
        (("Concat",), (ROWS, ENDS), ROWS.size + ENDS.size),
        ((), (MAP,), MAP.size),
    ],
)
def test_a_kernel_that_reads_columns_of_a_map_counts_for_the_columns(layers, reads, expected):
    kernel = Kernel("k", "kgen", reads, (ENDS,), layers)
    graph = GraphReads(sliced_graph(), (1, 8, 6))
    assert read_bytes(kernel, graph).total() == expected
    assert moved_bytes([kernel], graph).total() == expected + ENDS.size
    assert read_bytes(kernel).total() == sum(tensor.size for tensor in reads)


def test_the_nodes_of_a_kernel_are_read_from_its_metadata():
    [kernel] = kernels_in([f"{LINE}, Metadata: [ONNX Layer: node_Conv_1][ONNX Layer: node_Add | f (F)]"])
    assert kernel.layers == ("node_Conv_1", "node_Add | f (F)")


def test_the_peak_is_where_most_is_alive_inputs_and_outputs_aside():
    image, small, wide, late, picture = (
        Tensor((size,), "Half", name) for size, name in ((9, "in"), (2, "s"), (4, "w"), (3, "l"), (9, "out"))
    )
    kernels = [
        Kernel("first", "k", (image,), (small,)),
        Kernel("second", "k", (small,), (wide,)),
        Kernel("third", "k", (wide,), (late,)),
        Kernel("fourth", "k", (late, small), (picture,)),
    ]
    peak, tensors = peak_of(kernels)
    assert peak.name == "third"
    assert [tensor.name for tensor in tensors] == ["w", "l", "s"]


@rtx
def test_the_rewrites_for_engines_launch_fewer_kernels_and_move_fewer_bytes(traced):
    portable = traced(random_checkpoint(Architecture(channels=16, blocks=BLOCKS, modules=1, scale=2)))
    apply_rewrites(portable)
    whole = copy_of(portable)
    apply_rewrites(whole, [rewrite for rewrite in select(use=Use.ENGINE) if rewrite not in PORTABLE])
    options = EngineOptions(Target.TENSORRT_RTX, ShapeProfile.parse("1x256x320"), uint8=True, sm=89)
    before, after = (
        planned_traffic(Variant(Precision.FP16, make_fp16(model)).serialise(), options) for model in (portable, whole)
    )
    assert before is not None
    assert after is not None
    assert after.kernels < before.kernels
    assert after.bytes < 0.75 * before.bytes


@pytest.fixture(scope="module")
def rewritten(traced):
    model = traced(random_checkpoint(Architecture(channels=16, blocks=BLOCKS, modules=1, scale=2)))
    apply_rewrites(model)
    return model


@pytest.fixture(scope="module")
def patches():
    return replace(calibration_set(None, 2, patches=4), size=32)


@pytest.fixture(scope="module")
def graphs(rewritten, patches):
    return {scope: make_int8(rewritten, patches, scope=scope).serialise() for scope in Scope}


def planned(graph, side=64):
    profile = ShapeProfile.parse(f"1x{side}x{side}")
    return kernels_in(build_engine(graph, EngineOptions(Target.TENSORRT_RTX, profile, uint8=True, sm=89)).log)


def maps(tensors):
    return [tensor.dtype for tensor in tensors if tensor.shape == (1, 16, 64, 64)]


@rtx
def test_in_the_features_scope_a_residual_sum_is_one_kernel_whatever_it_reads(graphs):
    found = planned(graphs[Scope.FEATURES])
    sums = [each for each in found if each.kind != "correlation" and "Add" in each.name and "Int8" in maps(each.reads)]
    # The second of the four maps of the stream is INT8, and so is what each block's convolutions give.
    assert [sorted(maps(each.reads)) for each in sums] == [["Half", "Int8"], ["Int8", "Int8"], ["Half", "Int8"]]
    # What stays FP16 is written once more as INT8 for the convolution that reads it.
    assert [sorted(maps(each.writes)) for each in sums] == [["Int8"], ["Half", "Int8"], ["Half"]]


@rtx
def test_with_every_map_int8_a_residual_sum_is_one_kernel_that_moves_int8_alone(rewritten, patches):
    found = planned(make_int8(rewritten, patches, scope=Scope.FEATURES, alternate=False).serialise())
    sums = [each for each in found if each.kind != "correlation" and maps(each.reads) == ["Int8", "Int8"]]
    # Of the module's input the compiler keeps a dequantised copy for the attention, and the first block adds to that.
    assert len(sums) >= BLOCKS - 1
    assert all("Add" in each.name for each in sums)
    assert sum("Int8" in maps(each.writes) for each in sums) >= BLOCKS - 2  # the last sum feeds the attention alone
    between = [each for each in found if each.kind != "correlation" and maps(each.reads) == ["Float"]]
    assert [maps(each.writes) for each in between].count(["Int8"]) >= 2 * BLOCKS  # behind every block's convolutions


@rtx
def test_in_the_convolutions_scope_the_residual_stream_crosses_as_fp16(graphs):
    found = planned(graphs[Scope.CONVOLUTIONS])
    assert not [each for each in found if each.kind != "correlation" and "Int8" in maps(each.reads)]


@rtx
def test_blocks_tail_upscale_and_the_wide_attention_read_int8(graphs):
    for graph in graphs.values():
        assert int8_convolutions(planned(graph)).total() >= 2 * BLOCKS + 2 + 2


@rtx
def test_the_command_prints_a_row_for_every_graph(graphs, tmp_path, capsys):
    for scope, graph in graphs.items():
        (tmp_path / f"{scope.value}.onnx").write_bytes(graph)
    kernels.main([*(str(tmp_path / f"{scope.value}.onnx") for scope in Scope), "--peak", "--shape", "1x540x960"])
    text = capsys.readouterr().out
    for scope in Scope:
        assert re.search(rf"{scope.value}\.onnx: \d+\.\d MB at \S+\n +\d+\.\d MB  \[1, ", text)
    assert text.count("FP32") >= 1 + len(Scope)  # what INT8 convolutions write, in the head and in both rows


def test_a_file_that_is_missing_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        kernels.main([str(tmp_path / "none.onnx")])
    assert "export.py" in capsys.readouterr().err
