"""INT8 in other people's networks: the body's convolutions are found, by block, and the picture stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from defian_edge.calibration.drift.evaluator import GraphEvaluator, session_of
from defian_edge.calibration.drift.metrics import psnr
from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.photos import calibration_set, evaluation_pairs
from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.kernels import kernels_in
from defian_edge.export.graph import copy_of
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.equalisation import equalisable
from defian_edge.export.precision.int8.groups import named
from defian_edge.export.precision.int8.measure import equalise, helped, measured
from defian_edge.export.precision.int8.mixed_precision import choose
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sensitivity import Validation
from defian_edge.export.precision.int8.shares import Shares
from defian_edge.export.precision.int8.sites import Scope, find_sites
from defian_edge.export.precision.int8.structure import Structure
from defian_edge.export.precision.int8.upscale_basis import LinearSum
from defian_edge.export.precision.int8.variant import Int8Options, make_int8
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.source.opening import open_source
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import noise, random_checkpoint, tiny
from tests.export.strangers import STRANGERS, graph_of, stranger
from tools.kernels import int8_convolutions

GROUPS = {
    "edsr": {
        "body.0": ["body.0.body.0", "body.0.body.2"],
        "body.1": ["body.1.body.0", "body.1.body.2"],
        "conv_after_body": ["conv_after_body"],
        "upscale": ["up.conv"],
    },
    "rcan": {
        **{f"body.{i}.blocks.{j}": [f"body.{i}.blocks.{j}.rcab.{k}" for k in (0, 2)] for i in (0, 1) for j in (0, 1)},
        "body.0.conv": ["body.0.conv"],
        "body.1.conv": ["body.1.conv"],
        "conv_after_body": ["conv_after_body"],
        "upscale": ["up.conv"],
    },
    "esrgan": {
        **{f"body.{i}.rdb{j}": [f"body.{i}.rdb{j}.conv{k}" for k in (1, 2, 3)] for i in (0, 1) for j in (1, 2)},
        "conv_body": ["conv_body"],
        "upscale": ["conv_up", "conv_hr", "conv_last"],
    },
    "compact": {"body.2": ["body.2"], "body.4": ["body.4"], "body.6": ["body.6"], "upscale": ["body.8"]},
    "imdn": {
        **{f"body{i}": [f"body{i}.c{k}" for k in (1, 2, 3, 5)] for i in (1, 2)},
        "fuse": ["fuse"],
        "tail": ["tail"],
        "upscale": ["up.conv"],
    },
    "fsrcnn": {"shrink": ["shrink"], "map.0": ["map.0"], "map.2": ["map.2"], "upscale": ["expand"]},
    "pixel attention": {
        **{f"body.{i}": [f"body.{i}.first", f"body.{i}.last"] for i in (0, 1)},
        **{f"body.{i}.attention": [f"body.{i}.attention"] for i in (0, 1)},
        "conv_after_body": ["conv_after_body"],
        "upscale": ["up.conv"],
    },
    "swin": {
        **{f"network.body.{i}.attn": [f"network.body.{i}.attn.{each}" for each in ("qkv", "proj")] for i in (0, 1)},
        **{f"network.body.{i}.mlp": [f"network.body.{i}.mlp.{each}" for each in ("fc1", "fc2")] for i in (0, 1)},
        "body.0.conv": ["body.0.conv"],
        "body.1.conv": ["body.1.conv"],
        "conv_after_body": ["conv_after_body"],
        "upscale": ["up.conv"],
    },
    "depthwise": {
        **{f"body.{i}": [f"body.{i}.widen", f"body.{i}.narrow"] for i in (0, 1)},
        "conv_after_body": ["conv_after_body"],
        "upscale": ["up.conv"],
    },
}
STREAMS = {
    "edsr": {"body.stream"},
    "rcan": {"body.0.stream", "body.1.stream"},
    "esrgan": {"body.0.stream", "body.1.stream"},
    "compact": set(),
    "imdn": {"body.0.stream"},
    "fsrcnn": set(),
    "pixel attention": {"body.stream"},
    "depthwise": {"body.stream"},
    "swin": set(),
}
PATCHES = replace(calibration_set(None, 2, patches=3), size=32)
rtx = pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="tensorrt-rtx is not installed")


@pytest.fixture(scope="module")
def graphs():
    """Plain graphs by name, each made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = named(graph_of(stranger(name)))
        return copy_of(made[name])

    return get


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("rewritten", [False, True], ids=["plain", "rewritten"])
def test_groups_are_the_blocks_that_the_graph_shows(graphs, name, rewritten):
    model = graphs(name)
    if rewritten:
        apply_rewrites(model)
    sites = find_sites(model, Scope.FEATURES)
    found = {}
    for site in sites.convolutions:
        found.setdefault(site.group, []).append(site.node)
    assert found == GROUPS[name]
    assert {group for group in sites.groups if group not in found} == STREAMS[name]


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("scope", list(Scope), ids=lambda scope: scope.value)
def test_int8_runs_at_any_size_and_the_picture_stays(graphs, name, scope):
    model = graphs(name)
    apply_rewrites(model)
    calibrated = calibrate(model, PATCHES, Recipe(scope=scope))
    variant = calibrated.variant()
    assert variant.calibration["convolutions"] == len(find_sites(model, scope).convolutions)
    assert all(count > 0 for count in variant.calibration["left_out"].values())
    photo = evaluation_pairs(2)[1].lr[:42, :56]
    reference, int8 = GraphEvaluator(model)(photo), GraphEvaluator(variant.model)(photo)
    assert int8.finite
    assert psnr(int8.values, reference.values) > 30.0
    upscaled = np.asarray(session_of(variant.model).run(None, {"image": noise(2, 18, 24, 3)})[0])
    assert upscaled.shape == (2, 36, 48, 3)


def values_before_rounding(model, image):
    copy = copy_of(model)
    clip = [node for node in copy.graph if node.op_type == "Clip"][-1]
    assert clip.inputs[0] is not None
    copy.graph.outputs.append(clip.inputs[0])
    return np.asarray(session_of(copy).run(None, {"image": image})[1])


@pytest.mark.parametrize("name", STRANGERS)
def test_the_exact_helpers_leave_the_function_as_it_was(graphs, name):
    model = graphs(name)
    apply_rewrites(model)
    recipe = Recipe(scope=Scope.FEATURES)
    sites = find_sites(model, Scope.FEATURES)
    helped = copy_of(model)
    after = equalise(helped, dict(measured(model, PATCHES, recipe, sites)), recipe, sites)
    assert [site.group for site in after.convolutions] == [site.group for site in sites.convolutions]
    for image in (noise(1, 18, 22, 3), noise(2, 8, 6, 3)):
        before = values_before_rounding(model, image)
        assert np.abs(values_before_rounding(helped, image) - before).max() <= 1e-4 * np.abs(before).max()


@pytest.mark.parametrize(
    ("name", "pairs"),
    [("edsr", 2), ("rcan", 4), ("compact", 4), ("fsrcnn", 4), ("esrgan", 2), ("imdn", 0), ("depthwise", 0)],
)
def test_channels_are_equalised_across_every_activation_that_lets_a_factor_pass(graphs, name, pairs):
    assert len(equalisable(graphs(name))) == pairs


@pytest.mark.parametrize("name", ["edsr", "rcan", "imdn", "compact", "esrgan"])
def test_the_linear_helpers_apply_where_all_is_linear_up_to_the_shuffle(graphs, name):
    model = graphs(name)
    apply_rewrites(model)
    found = helped(model, Recipe(), find_sites(model, Scope.FEATURES))
    assert (found["side"] == found["basis"] == 1) == (name in ("edsr", "rcan", "imdn"))
    assert LinearSum(model).found or "the last sum is not" in str(found["basis"])


def test_what_is_left_out_has_a_reason(graphs):
    assert Structure(graphs("depthwise").graph).left_out["body.0.spatial"].endswith("fewer than 12 channels")
    assert "vector" in Structure(graphs("rcan").graph).left_out["body.0.blocks.0.rcab.3.squeeze"]
    assert "fewer than 12" in Structure(graphs("edsr").graph).left_out["head"]


def test_a_budget_on_drift_leaves_blocks_out(graphs):
    model = graphs("rcan")
    apply_rewrites(model)
    training, held_back = replace(calibration_set(None, 2, patches=8), size=32).split()
    pairs = held_back.pairs()
    reference = GraphEvaluator(model)
    validation = Validation(Reference(pairs, [reference(pair.lr) for pair in pairs], 2))
    calibrated = calibrate(model, training, Recipe(scope=Scope.FEATURES))
    shares = Shares(model, find_sites(model, Scope.FEATURES), (1, 48, 64))
    full, _ = choose(calibrated, validation, shares, None)
    worst = full.validation["worst_drift_db"]
    assert full.mac_share > 0.8
    chosen, sensitivities = choose(calibrated, validation, shares, worst - 1e-6)
    assert {"body.0", "body.1"} <= {each.group for each in sensitivities}
    assert set(chosen.groups) < set(full.groups)


def test_a_network_too_narrow_for_int8_is_refused_with_the_reason():
    narrow = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2)
    )
    graph, network = graph_of(narrow), open_source(random_checkpoint(tiny()))
    options = Int8Options(Recipe(), ShapeProfile.parse("1x24x32"))
    variant = make_int8(graph, network, PATCHES, options, [noise(24, 32, 3)])
    assert "it has fewer than 12 channels on one side (2)" in variant.calibration["refused"]


def test_convolutions_without_names_are_numbered(graphs):
    model = graphs("edsr")
    for node in model.graph:
        node.name = ""
    for index, value in enumerate(list(model.graph.initializers.values())):
        value.name = f"onnx::Conv_{index}"
    renamed = named(model)
    names = [node.name for node in renamed.graph if node.op_type == "Conv"]
    assert len(set(names)) == len(names) == 7
    assert set(find_sites(renamed, Scope.FEATURES).groups) >= {"block.0", "block.1", "block.stream", "upscale"}
    assert named(renamed) is renamed


def test_a_module_is_exported_in_every_precision_within_a_budget(tmp_path):
    options = ExportOptions(
        tmp_path, tuple(Precision), patches=4, recipe=Recipe(scope=Scope.FEATURES), scale=2, max_drift=3.0,
        rewrite_memory=False,
    )  # fmt: skip
    result = run_export(stranger("edsr"), options)
    assert result.passed
    unrounded = {name: report.unrounded_to_reference for name, report in result.drift.items()}
    assert unrounded["fp32"] > unrounded["fp16"] > unrounded["bf16"] > unrounded["int8"] > 30.0
    int8 = result.artefacts[-1]
    assert int8.shares.macs["int8"] > 0.8
    assert int8.variant.calibration["mixed_precision"]["dropped"] == ()


@rtx
@pytest.mark.parametrize("name", ["edsr", "compact", "swin"])
def test_a_compiler_computes_the_sites_in_int8(graphs, name):
    model = graphs(name)
    apply_rewrites(model)
    calibrated = calibrate(model, PATCHES, Recipe())
    variant, two_terms = calibrated.variant(), len(calibrated.plan.two_terms)
    options = EngineOptions(Target.TENSORRT_RTX, ShapeProfile.parse("1x32x32"), uint8=True, sm=89)
    found = kernels_in(build_engine(variant.serialise(), options).log)
    products = [each for each in found if each.kind == "gemm" and each.reads[0].dtype == "Int8"]
    assert int8_convolutions(found).total() + len(products) == variant.calibration["convolutions"] + two_terms
    assert {each.writes[0].dtype for each in products} <= {"Half"}
