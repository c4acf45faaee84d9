"""BF16 graphs: which parts are, what is measured of them, where they run and where they are refused."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from defian_edge.calibration.drift.evaluator import GraphEvaluator, session_of
from defian_edge.calibration.drift.fp16_emulation import emulate_fp16
from defian_edge.calibration.drift.hard_images import hard_images, hard_pictures
from defian_edge.calibration.drift.metrics import psnr
from defian_edge.calibration.drift.report import faults_on_hard_images
from defian_edge.calibration.photos import evaluation_pairs
from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.kernels import kernels_in
from defian_edge.export.engine.lowering import Eigen
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.precision.fp16 import BF16_ISLANDS, Island
from defian_edge.export.precision.variants import Variant, make_bf16, make_fp16
from defian_edge.export.reference import reference_outputs
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.source.opening import open_source
from defian_edge.export.source.picture import Channels, PictureFormat
from defian_edge.export.trace.network import Io
from defian_edge.export.triton.options import Served, TritonOptions, require_servable
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.session import open_session
from tests.conftest import random_checkpoint, tiny
from tests.export.test_fp16 import inferred, loud
from tools.architectures import random_network

BF16, FULL = ir.DataType.BFLOAT16, ir.DataType.FLOAT
rtx = pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="tensorrt-rtx is not installed")


@pytest.fixture(scope="module")
def rewritten(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    return model


@pytest.fixture(scope="module")
def bf16(rewritten):
    return make_bf16(rewritten)


def test_the_graph_is_valid_onnx_of_the_first_opset_with_bf16_convolutions(bf16):
    Variant(Precision.BF16, bf16).serialise()
    assert bf16.opset_imports[""] == 22


def test_the_body_is_bf16_and_image_picture_and_statistics_are_fp32(bf16):
    graph = inferred(bf16)
    for node in graph:
        if node.op_type == "Conv" and (".block." in (node.name or "") or node.name in ("tail", "input")):
            assert node.outputs[0].dtype == BF16, node.name
        if node.op_type in ("ReduceMean", "Sqrt", "Round", "Clip") or node.name == "upscale":
            assert node.outputs[0].dtype == FULL, node.name
    assert graph.inputs[0].dtype == graph.outputs[0].dtype == ir.DataType.UINT8
    assert not any(value.dtype == ir.DataType.FLOAT16 for node in graph for value in node.outputs)


def through_bf16(values):
    """What the emulation makes of FP32 values that a BF16 graph casts to BF16 and back."""
    x = ir.Value(name="x", shape=ir.Shape(["n"]), type=ir.TensorType(FULL))
    narrow = ir.node("Cast", [x], {"to": int(BF16)})
    doubled = ir.node("Add", [narrow.outputs[0], narrow.outputs[0]])
    wide = ir.node("Cast", [doubled.outputs[0]], {"to": int(FULL)})
    wide.outputs[0].name, wide.outputs[0].type = "y", ir.TensorType(FULL)
    graph = ir.Graph([x], wide.outputs, nodes=[narrow, doubled, wide], opset_imports={"": 22}, name="g")
    return np.asarray(session_of(emulate_fp16(ir.Model(graph, ir_version=10))).run(None, {"x": values})[0])


def test_the_emulation_rounds_to_the_nearest_even_bf16_and_keeps_fp32s_range():
    ties = np.asarray([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 0.0, 1e38, 65504.0 * 8, 1e-38], np.float32)
    values = np.concatenate([ties, np.random.default_rng(0).normal(size=2000).astype(np.float32) * 300])
    expected = 2 * values.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(through_bf16(values), expected)


def test_bf16_costs_its_eight_bits_and_fp16_less(rewritten, bf16):
    lr = evaluation_pairs(2)[0].lr[:64, :64]
    full, rounded, fp16 = (GraphEvaluator(model)(lr).values for model in (rewritten, bf16, make_fp16(rewritten)))
    assert 40.0 < psnr(rounded, full) < psnr(fp16, full) - 10.0


def test_the_output_island_is_worth_having(rewritten, bf16):
    lr = evaluation_pairs(2)[0].lr[:64, :64]
    full = GraphEvaluator(rewritten)(lr).values
    without = GraphEvaluator(make_bf16(rewritten, BF16_ISLANDS - {Island.OUTPUT}))(lr).values
    assert psnr(GraphEvaluator(bf16)(lr).values, full) > psnr(without, full) + 0.5


def test_what_leaves_fp16s_range_needs_no_measuring_in_bf16(traced):
    quiet = random_checkpoint(tiny())
    model = traced(loud(quiet, 2.0**20))
    apply_rewrites(model)
    pictures = hard_pictures(lambda lr: reference_outputs(quiet.network(), [lr])[0])
    assert faults_on_hard_images(GraphEvaluator(make_fp16(model)), pictures)
    assert faults_on_hard_images(GraphEvaluator(make_bf16(model)), pictures) == ()


def test_no_hard_image_gives_nan_or_a_black_frame(rewritten, bf16):
    evaluators = GraphEvaluator(rewritten), GraphEvaluator(bf16)
    for name, image in hard_images().items():
        full, rounded = (evaluate(image) for evaluate in evaluators)
        assert rounded.finite, name
        assert np.abs(rounded.image.astype(int) - full.image).mean() < 3.0, name


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bf16")
    options = ExportOptions(out=folder, precisions=(Precision.BF16,), rewrite_memory=False, reference_size=0.0)
    return run_export(random_checkpoint(tiny()), options)


def test_an_export_measures_bf16_and_says_what_is_in_it(exported):
    [artefact] = exported.artefacts
    assert artefact.drift is not None
    assert artefact.drift.hard_run == 6
    assert artefact.shares.macs["bf16"] > 0.8
    assert [path.name for path in artefact.files] == ["random-16-1-2-x2.bf16.onnx"]


def test_a_session_on_the_cpu_refuses_it_and_says_what_runs_it(exported):
    with pytest.raises(DefianError, match="no BF16 convolution on the CPU") as raised:
        open_session(exported.artefacts[0].files[0])
    assert "--target tensorrt-rtx" in raised.value.hint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"eigen": Eigen.PLUGIN}, "expected FP32 or FP16 features"),
        ({"target": Target.TENSORRT_RTX, "sm": 75}, "expected 80 or more"),
        ({"triton": Path("models")}, "no BF16 convolution"),
    ],
)
def test_what_has_no_bf16_is_refused_before_any_work(options, said):
    with pytest.raises(DefianError, match=said):
        ExportOptions(out=Path("out"), precisions=(Precision.BF16,), **options)


def test_an_engine_in_bf16_is_served():
    require_servable(Served("net", "tensorrt", "bf16", "uint8", has_plugin=False), TritonOptions())


@rtx
def test_a_compiler_builds_it_and_moves_bf16_maps(bf16):
    options = EngineOptions(Target.TENSORRT_RTX, ShapeProfile.parse("1x32x32"), uint8=True, sm=89)
    kernels = kernels_in(build_engine(Variant(Precision.BF16, bf16).serialise(), options).log)
    written = {tensor.dtype for kernel in kernels if kernel.kind == "correlation" for tensor in kernel.writes}
    assert "BFloat16" in written
    assert not any(tensor.dtype == "Half" for kernel in kernels for tensor in kernel.writes)


@rtx
def test_a_transposed_convolution_stays_fp32_so_that_an_engine_is_built():
    graph = open_source(random_network("FSRCNN (luma)"), PictureFormat(channels=Channels.Y)).trace(Io.UINT8)
    model = make_bf16(graph)
    [transposed] = [node for node in model.graph if node.op_type == "ConvTranspose"]
    assert {value.dtype for value in transposed.inputs if value is not None} == {FULL}
    assert any(node.op_type == "Conv" and node.outputs[0].dtype == BF16 for node in model.graph)
    options = EngineOptions(Target.TENSORRT_RTX, ShapeProfile.parse("1x16x16"), uint8=True, sm=89)
    assert build_engine(Variant(Precision.BF16, model).serialise(), options).plan
