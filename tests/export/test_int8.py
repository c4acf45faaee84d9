"""Where Q/DQ stand in the finished graph, read off the graph itself."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from defian_edge.calibration.drift.evaluator import GraphEvaluator, session_of
from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.drift.report import measure_drift
from defian_edge.calibration.photos import calibration_set, evaluation_pairs
from defian_edge.calibration.ranges.estimators import LEVELS
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.qdq import QuantisationPlan, insert_qdq
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.rounding import fp16_scale
from defian_edge.export.precision.int8.sites import ConvolutionSite, FeatureSite, Scope, Sites, find_sites, rescaled
from defian_edge.export.precision.shares import feature_names, shares_of
from defian_edge.export.precision.variants import make_fp16
from defian_edge.export.reference import reference_evaluations
from defian_edge.export.rewrites import PORTABLE, apply_rewrites
from defian_edge.runtime.errors import DefianError
from tests.conftest import make_int8, noise, random_checkpoint, tiny

ALL_MAPS = Recipe(scope=Scope.FEATURES, residue=False, alternate=False)
EXPECTED = re.compile(r"^(body\.\d+\.body_block\.\d+\.block\.[02]|tail|upscale|body\.\d+\.coder\.0\.(en|de)coder\.\d)$")


@pytest.fixture(scope="module")
def rewritten(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    return model


@pytest.fixture(scope="module", params=list(Scope))
def quantised(request, rewritten):
    all_maps = {"alternate": False, "residue": request.param is Scope.CONVOLUTIONS}
    patches = calibration_set(None, 2, patches=6)
    return request.param, make_int8(rewritten, patches, scope=request.param, **all_maps).model


def producer(value):
    node = value.producer()
    assert node is not None
    return node


def is_dequantised(value):
    node = value.producer()
    return node is not None and node.op_type == "DequantizeLinear"


def test_input_and_weight_of_every_wanted_convolution_come_from_int8(quantised):
    found = [node for node in quantised[1].graph if node.op_type == "Conv" and is_dequantised(node.inputs[1])]
    names = {node.name for node in found}
    assert all(EXPECTED.match(name or "") for name in names)
    assert {"tail", "upscale", "body.0.body_block.0.block.0", "body.1.body_block.0.block.2"} <= names
    assert {"body.0.coder.0.encoder.4", "body.1.coder.0.decoder.0"} <= names
    for node in found:
        for value in node.inputs[:2]:
            dequantise = producer(value)
            assert dequantise.op_type == "DequantizeLinear"
            assert dequantise.inputs[0].dtype == ir.DataType.INT8
            assert dequantise.outputs[0].dtype == ir.DataType.FLOAT16
        assert producer(producer(node.inputs[0]).inputs[0]).op_type == "QuantizeLinear"


def per_channel(value):
    """The other input of a multiplication by one factor per channel, and whether there is one."""
    node = value.producer()
    if node is None or node.op_type != "Mul":
        return value, False
    shapes = [[] if each.shape is None else list(each.shape) for each in node.inputs]
    places = [place for place, shape in enumerate(shapes) if shape[2:] == [1, 1]]
    return (node.inputs[1 - places[0]], True) if places else (value, False)


def test_bias_stays_float(quantised):
    for node in quantised[1].graph:
        if node.op_type == "Conv" and len(node.inputs) > 2:
            assert node.inputs[2].dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)


@pytest.mark.parametrize("quantised", [Scope.CONVOLUTIONS], indirect=True)
def test_in_the_convolutions_scope_nothing_but_convolutions_reads_int8(quantised):
    for node in quantised[1].graph:
        if node.op_type == "DequantizeLinear":
            assert {use.node.op_type for use in node.outputs[0].uses()} == {"Conv"}


@pytest.mark.parametrize("quantised", [Scope.FEATURES], indirect=True)
def test_in_the_features_scope_every_reader_of_a_feature_map_reads_int8(quantised, rewritten):
    values = {value.name: value for node in quantised[1].graph for value in node.outputs}
    for name in feature_names(rewritten):
        assert {use.node.op_type for use in rescaled(values[name]).uses()} == {"QuantizeLinear"}, name
    for node in quantised[1].graph:  # an INT8 map is FP32 only where FP32 is wanted, and then without FP16 between
        if node.op_type == "Cast" and node.outputs[0].dtype == ir.DataType.FLOAT:
            assert not is_dequantised(node.inputs[0])
    blocks = [name for name, value in values.items() if value.producer().op_type == "Add" and is_block_sum(value)]
    assert len(blocks) == 2  # one block in each of two modules


def is_block_sum(value):
    """``x + result * gate``: both inputs a dequantised map times one factor per channel, and the sum quantised."""
    inputs = [per_channel(source) for source in producer(value).inputs]
    return all(scaled and is_dequantised(source) for source, scaled in inputs) and {
        use.node.op_type for use in value.uses()
    } == {"QuantizeLinear"}


def test_eigenvalues_statistics_and_gates_are_not_quantised(quantised):
    for node in quantised[1].graph:
        if node.op_type == "QuantizeLinear":
            source = producer(node.inputs[0])
            assert source.domain != "defian"
            assert source.op_type not in ("ReduceMean", "Sqrt", "Sigmoid")
            assert node.inputs[0].shape is None or list(node.inputs[0].shape)[2:] != [1, 1]


def test_quantisation_is_symmetric_with_fp16_scales_and_per_channel_weights(quantised):
    for node in quantised[1].graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = (ir.convenience.get_const_tensor(value) for value in node.inputs[1:])
        assert scale is not None
        assert zero is not None
        assert scale.dtype == ir.DataType.FLOAT16 or node.outputs[0].dtype == ir.DataType.FLOAT
        if node.op_type == "DequantizeLinear" and not node.inputs[0].is_initializer():
            quantise = ir.convenience.get_const_tensor(producer(node.inputs[0]).inputs[1])
            assert quantise is not None
            assert float(scale.numpy()) == float(quantise.numpy())  # the same steps for FP32 readers
        assert (scale.numpy() > 0).all()
        assert not zero.numpy().any()
        if node.inputs[0].is_initializer():
            assert node.attributes["axis"].as_int() == 0
            weights = ir.convenience.get_const_tensor(node.inputs[0])
            assert weights is not None
            assert scale.numpy().shape == weights.numpy().shape[:1]
            largest = np.abs(weights.numpy().astype(int)).reshape(len(scale.numpy()), -1).max(axis=1)
            # Per channel: each has its own scale, and uses it to the end (its rounding to FP16 may cost one step).
            assert set(largest.tolist()) <= {0, LEVELS - 1, LEVELS}
            assert LEVELS in largest
            assert len(set(scale.numpy().tolist())) > 1


def test_no_tensor_carries_two_pairs(quantised):
    sources = [node.inputs[0] for node in quantised[1].graph if node.op_type == "QuantizeLinear"]
    assert len(sources) == len(set(sources))
    assert not any(is_dequantised(source) for source in sources)


@pytest.mark.parametrize(
    "plan",
    [
        QuantisationPlan(Sites((ConvolutionSite("tail", "x", "tail"),), ())),
        QuantisationPlan(Sites((), (FeatureSite("nothing of this name", "tail"),)), {"nothing of this name": 1.0}),
    ],
)
def test_what_cannot_be_quantised_is_an_error_and_not_left_in_fp16(rewritten, plan):
    with pytest.raises(ValueError, match="cannot be quantised"):
        insert_qdq(make_fp16(rewritten), plan)


def test_a_scale_never_becomes_zero_in_fp16():
    assert (fp16_scale(np.asarray([0.0, 1e-12, 1.0])) > 0).all()


def test_an_unknown_helper_is_named():
    with pytest.raises(DefianError, match=r"adaround.*equalise"):
        Recipe.of(Scope.CONVOLUTIONS, Recipe().method, ["adaround"])


def test_a_graph_without_the_rewrites_has_the_same_sites(traced, rewritten):
    plain, after = (find_sites(model, Scope.FEATURES) for model in (traced(random_checkpoint(tiny())), rewritten))
    assert len(plain.features) == len(after.features)
    assert {site.group for site in plain.features} == {site.group for site in after.features}


@pytest.mark.parametrize("missing", ["nothing", "everything", *(rewrite.name for rewrite in PORTABLE)])
@pytest.mark.parametrize("channels", [True, False])
def test_every_site_is_found_behind_the_helpers_whatever_rewrite_is_missing(traced, rewritten, missing, channels):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model, [rewrite for rewrite in PORTABLE if missing not in ("everything", rewrite.name)])
    patches = replace(calibration_set(None, 2, patches=1), size=16)
    sites = calibrate(model, patches, replace(ALL_MAPS, channels=channels)).sites
    assert len(sites.features) == len(find_sites(rewritten, Scope.FEATURES).features)
    assert set(sites.groups) == set(find_sites(rewritten, Scope.FEATURES).groups)


@pytest.mark.parametrize("scale", [2, 4])
def test_the_trained_networks_are_int8_to_97_percent_of_their_macs(traced, scale):
    from defian_edge.models.bundled import bundled_models
    from defian_edge.models.checkpoint import load_checkpoint

    model = traced(load_checkpoint(bundled_models()[f"defian-s-x{scale}"]))
    apply_rewrites(model)
    patches = replace(calibration_set(None, scale, patches=1), size=32)
    calibrated = calibrate(model, patches, ALL_MAPS)
    counted = shares_of(calibrated.variant().model, feature_names(model), (1, 90, 160))
    assert counted.macs["int8"] >= 0.97
    assert counted.feature_bytes == {"int8": 1.0}
    only_convolutions = Sites(calibrated.sites.convolutions, ())
    counted = shares_of(calibrated.variant(only_convolutions).model, feature_names(model), (1, 90, 160))
    assert counted.macs["int8"] >= 0.97
    assert 0.0 < counted.feature_bytes["int8"] < 0.5


def test_int8_runs_in_batches_and_at_odd_sizes(quantised):
    session = session_of(quantised[1])
    image = noise(2, 17, 23, 3)
    both = np.asarray(session.run(None, {"image": image})[0])
    alone = np.concatenate([np.asarray(session.run(None, {"image": image[i : i + 1]})[0]) for i in range(2)])
    assert both.shape == (2, 34, 46, 3)
    assert np.abs(both.astype(int) - alone).max() <= 1


def test_rewrites_do_not_raise_what_int8_costs(traced, bundled_x2):
    pairs = [p for p in evaluation_pairs(2) if p.name == "chelsea"]
    references = reference_evaluations(bundled_x2.network(), (pair.lr for pair in pairs))
    patches = calibration_set(None, 2, patches=6)
    drifts = []
    for rewrite in (False, True):
        model = traced(bundled_x2)
        if rewrite:
            apply_rewrites(model)
        # The sum in front of the upscaling is linear on both sides only in the rewritten graph, and few enough MACs.
        int8 = make_int8(model, patches, side=False, basis=False, residue=False)
        drifts.append(measure_drift("int8", GraphEvaluator(int8.model), Reference(pairs, references, 2)))
    assert drifts[1].mean < drifts[0].mean + 0.005
    assert drifts[1].unrounded_to_reference > drifts[0].unrounded_to_reference - 0.5
