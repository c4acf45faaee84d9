from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from defian_edge.calibration.drift.evaluator import GraphEvaluator, session_of
from defian_edge.calibration.drift.fp16_emulation import emulate_fp16
from defian_edge.calibration.drift.hard_images import hard_images, hard_pictures
from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.drift.report import faults_on_hard_images, measure_drift
from defian_edge.calibration.photos import calibration_set, evaluation_pairs
from defian_edge.calibration.ranges.fp16_range import LARGEST_FP16, beyond_fp16
from defian_edge.export.precision import Precision
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.shares import Shares
from defian_edge.export.precision.int8.sites import Scope, find_sites
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.reference import reference_evaluations, reference_outputs
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.rewrites.cheap_hessian import cheap_body
from defian_edge.export.trace.hessian_op import install_body, plain_body
from defian_edge.models.bundled import bundled_models
from defian_edge.models.checkpoint import load_checkpoint
from tests.conftest import make_int8, noise, random_checkpoint, tiny

HALF, FULL = ir.DataType.FLOAT16, ir.DataType.FLOAT


@pytest.fixture
def fp16(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    return make_fp16(model)


def inferred(model):
    """The graph with functions inlined and every type filled in."""
    copy = ir.from_proto(ir.to_proto(model))
    common.InlinePass()(copy)
    common.ShapeInferencePass()(copy)
    return copy.graph


def test_convolutions_over_feature_maps_are_fp16_and_global_statistics_fp32(fp16):
    graph = inferred(fp16)
    for node in graph:
        if node.op_type == "Conv" and node.name and (".block." in node.name or node.name in ("tail", "input")):
            assert node.outputs[0].dtype == HALF, node.name
        if node.op_type in ("ReduceMean", "Sqrt"):
            assert node.outputs[0].dtype == FULL, node.name
        if node.op_type == "Conv" and node.name and ".calayer." in node.name:
            assert node.outputs[0].dtype == FULL, node.name


def test_inputs_and_outputs_stay_uint8(fp16):
    assert fp16.graph.inputs[0].dtype == fp16.graph.outputs[0].dtype == ir.DataType.UINT8


def test_deviations_are_fp16_so_that_the_compiler_keeps_no_fp32_feature_map(fp16):
    centred = [node for node in inferred(fp16) if node.op_type == "Sub" and len(node.outputs[0].shape or ()) == 4]
    feature_maps = [node for node in centred if node.outputs[0].dtype == HALF]
    assert len(feature_maps) >= 2 * 2  # per module: of the features, and of the attention map


def eigenvalue_model(body, dtype, channels=8):
    """The operator alone on features of this type, FP32 at both ends."""
    image = ir.Value(name="x", shape=ir.Shape(["n", channels, "h", "w"]), type=ir.TensorType(FULL))
    bias = ir.Value(
        name="bias",
        const_value=ir.tensor(np.zeros((3, 3, channels), np.float32), name="bias"),
        shape=ir.Shape((3, 3, channels)),
        type=ir.TensorType(FULL),
    )
    typed = ir.node("Cast", [image], {"to": int(dtype)})
    eigenvalues = ir.node("MaxHessianEigenvalue", [typed.outputs[0], bias], domain="defian")
    wide = ir.node("Cast", [eigenvalues.outputs[0]], {"to": int(FULL)})
    wide.outputs[0].name, wide.outputs[0].type = "y", ir.TensorType(FULL)
    nodes = [typed, eigenvalues, wide]
    graph = ir.Graph([image], wide.outputs, nodes=nodes, initializers=[bias], opset_imports={"": 20}, name="g")
    model = ir.Model(graph, ir_version=10)
    install_body(model, body)
    return model


@pytest.mark.parametrize("body", [plain_body, cheap_body], ids=["plain", "cheap"])
@pytest.mark.parametrize("amplitude", [65504.0, 30000.0, 1.0, 1e-4, 0.0])
def test_the_eigenvalue_step_is_finite_in_fp16_for_features_up_to_its_range(body, amplitude):
    random = np.random.default_rng(0)
    features = (random.choice([-1.0, 1.0], (1, 8, 17, 23)) * amplitude).astype(np.float16).astype(np.float32)
    emulated = session_of(emulate_fp16(eigenvalue_model(body, HALF)))
    result = np.asarray(emulated.run(None, {"x": features})[0])
    expected = np.asarray(session_of(eigenvalue_model(plain_body, FULL)).run(None, {"x": features})[0])
    assert np.isfinite(result).all()
    # FP16 rounds the result to 11 bits; below its normal range the step is 2^-24, and the stencils see it four times.
    tolerance = 2.0**-10 * np.abs(expected).max() + 16 * 2.0**-24
    assert np.abs(result - expected).max() <= tolerance
    assert np.abs(result).max() <= LARGEST_FP16


HARD = hard_images()


def trained_models(traced, scale):
    """Every precision, and both scopes, of a trained network."""
    rewritten = traced(load_checkpoint(bundled_models()[f"defian-s-x{scale}"]))
    apply_rewrites(rewritten)
    models = {"fp32": rewritten, "fp16": make_fp16(rewritten)}
    patches = replace(calibration_set(None, scale, patches=8), size=48)
    for scope in Scope:
        models[f"int8 {scope.value}"] = make_int8(rewritten, patches, scope=scope).model
    return models


@pytest.fixture(scope="module", params=[2, 4], ids=["x2", "x4"])
def trained(request, traced):
    return trained_models(traced, request.param)


@pytest.fixture(scope="module")
def evaluators(trained):
    return {name: GraphEvaluator(model) for name, model in trained.items()}


@pytest.mark.parametrize("name", HARD)
def test_no_precision_gives_nan_or_a_black_frame_on_hard_images(evaluators, name):
    reference = evaluators["fp32"](HARD[name])
    for precision, evaluate in evaluators.items():
        result = evaluate(HARD[name])
        assert result.finite, precision
        assert (result.image.max() > 0) == (reference.image.max() > 0), precision
        # INT8 clips what no photo of the calibration set shows, such as full contrast at Nyquist; it stays a picture:
        # a black or grey frame instead of the checkerboard would be off by twice as much and more.
        distance = np.abs(result.image.astype(int) - reference.image).mean()
        assert distance < (60.0 if precision.startswith("int8") else 3.0), precision


def test_variants_are_valid_onnx_and_onnx_runtime_runs_them(trained):
    image = noise(2, 17, 23, 3)
    for name, model in trained.items():
        Variant(Precision(name.split()[0]), model).serialise()
        batch, height, width, _ = np.asarray(session_of(model).run(None, {"image": image})[0]).shape
        assert (batch, height / 17, width / 23) in ((2, 2, 2), (2, 4, 4))


def test_fp16_differs_from_fp32_by_its_rounding_and_no_more(evaluators):
    lr = evaluation_pairs(2)[0].lr[:64, :64]
    fp16, full = (evaluators[name](lr).image.astype(int) for name in ("fp16", "fp32"))
    assert 0 < np.mean(fp16 != full) < 0.2
    assert np.abs(fp16 - full).max() <= 2


def loud(checkpoint, factor):
    """The same network with a residual block whose inner features are ``factor`` times as large; exact in FP32."""
    state = {name: value.clone() for name, value in checkpoint.state.items()}
    state["body.0.body_block.0.block.0.weight"] *= factor
    state["body.0.body_block.0.block.2.weight"] /= factor
    return replace(checkpoint, state=state, name=f"loud-{factor:g}")


@pytest.mark.parametrize("factor", [2.0**-22, 2.0**22])
def test_constants_that_fp16_cannot_hold_stay_fp32_with_their_nodes(traced, factor):
    checkpoint = random_checkpoint(tiny())
    state = {name: value.clone() for name, value in checkpoint.state.items()}
    state["body.0.body_block.0.block.0.weight"] *= factor
    state["body.0.body_block.0.block.2.weight"] /= factor
    model = traced(replace(checkpoint, state=state, name=f"uneven-{factor:g}"))
    apply_rewrites(model)
    beyond = beyond_fp16(model, HARD.values())
    typed = make_fp16(model, beyond).graph
    types = {node.name: node.outputs[0].dtype for node in typed if node.op_type == "Conv"}
    assert types["body.0.body_block.0.block.0"] == types["body.0.body_block.0.block.2"] == FULL
    assert types["body.1.body_block.0.block.0"] == HALF
    image = noise(20, 24, 3)
    expected = reference_outputs(checkpoint.network(), [image])[0].astype(int)
    patches = replace(calibration_set(None, 2, patches=2), size=32)
    for scope in Scope:
        calibrated = calibrate(model, patches, Recipe(scope=scope))
        variant = calibrated.keeping_wide(beyond_fp16(calibrated.model, HARD.values())).variant()
        # What noise costs the even network, whose INT8 clips it as well, is 7.6; with the constants in FP16 it is 25.
        assert np.abs(GraphEvaluator(variant.model)(image).image - expected).mean() < 10.0
    assert np.abs(GraphEvaluator(make_fp16(model, beyond))(image).image - expected).mean() < 1.0


def test_a_trained_network_stays_in_the_range_of_fp16(traced, bundled_x2):
    model = traced(bundled_x2)
    apply_rewrites(model)
    convolved = {node.outputs[0].name for node in model.graph if node.op_type == "Conv"}
    assert not beyond_fp16(model, HARD.values()).tensors & convolved


def test_measuring_finds_what_overflows_on_a_photo_without_any_rule(traced, bundled_x2, set5):
    model = traced(bundled_x2)
    apply_rewrites(model)
    [photo] = [pair for pair in evaluation_pairs(2, lr=set5 / "LRx2", hr=set5 / "HR") if pair.name == "baby"]
    beyond = beyond_fp16(model, [photo.lr], 540 * 960)
    reductions = {node.outputs[0].name for node in model.graph if node.op_type == "ReduceMean"}
    assert beyond.sums <= reductions
    assert len(beyond.sums) > len(reductions) / 2
    references = reference_evaluations(bundled_x2.network(), [photo.lr])
    evaluator = GraphEvaluator(make_fp16(model, beyond, frozenset()))
    measured = measure_drift("fp16", evaluator, Reference([photo], references, 2))
    assert not measured.faults
    assert abs(measured.worst.drift) <= 0.002


def test_what_leaves_the_range_of_fp16_is_found_by_measuring_and_kept_in_fp32(traced):
    quiet = random_checkpoint(tiny())
    model = traced(loud(quiet, 2.0**20))
    apply_rewrites(model)
    beyond = beyond_fp16(model, HARD.values())
    assert beyond.tensors
    pictures = hard_pictures(lambda lr: reference_outputs(quiet.network(), [lr])[0])
    overflowing, rescued = GraphEvaluator(make_fp16(model)), GraphEvaluator(make_fp16(model, beyond))
    assert any("NaN or Inf" in fault for fault in faults_on_hard_images(overflowing, pictures))
    assert faults_on_hard_images(rescued, pictures) == ()
    image = noise(20, 24, 3)
    expected = reference_outputs(quiet.network(), [image])[0].astype(int)
    assert np.abs(rescued(image).image - expected).mean() < 1.0


@pytest.mark.parametrize("scope", list(Scope), ids=lambda scope: scope.value)
def test_int8_leaves_what_is_beyond_fp16_alone(traced, scope):
    model = traced(loud(random_checkpoint(tiny()), 2.0**20))
    apply_rewrites(model)
    beyond = beyond_fp16(model, HARD.values())
    patches = replace(calibration_set(None, 2, patches=1), size=32)
    everything = find_sites(model, scope)
    calibrated = calibrate(model, patches, Recipe(scope=scope, equalise=False)).keeping_wide(beyond)
    variant = calibrated.variant()
    assert GraphEvaluator(variant.model)(noise(20, 24, 3)).finite
    assert 0 < variant.calibration["convolutions"] < len(everything.convolutions)
    shares = Shares(model, find_sites(model, Scope.FEATURES), (1, 20, 24))
    assert shares.macs(calibrated.sites) < shares.macs(everything)  # what is reported is what is done
