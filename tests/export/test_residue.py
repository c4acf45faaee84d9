"""Two INT8 terms in front of the picture: where they are, and that neither rounding nor clipping is left of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.metrics import psnr
from defian_edge.calibration.photos import calibration_set, evaluation_pairs
from defian_edge.export.precision.int8 import residue
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.groups import named
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.residue import read_in_two_terms
from defian_edge.export.precision.int8.sites import Scope, find_sites
from defian_edge.export.rewrites import apply_rewrites
from tests.export.strangers import STRANGERS, graph_of, stranger

NEAR_THE_PICTURE = {
    "edsr": {"conv_after_body", "up.conv"},
    "rcan": {"conv_after_body", "up.conv"},
    "esrgan": {"conv_body", "conv_up", "conv_hr", "conv_last"},
    "compact": {"body.8"},
    "imdn": {"tail", "up.conv"},
    "fsrcnn": {"expand"},
    "pixel attention": {"conv_after_body", "up.conv"},
    "swin": {"conv_after_body", "up.conv"},
    "depthwise": {"conv_after_body", "up.conv"},
}


@pytest.fixture(scope="module", params=list(Scope))
def calibrated(request, traced, bundled_x2):
    model = traced(bundled_x2)
    apply_rewrites(model)
    return calibrate(model, replace(calibration_set(None, 2, patches=4), size=48), Recipe(scope=request.param))


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_near_the_picture_is_read_off_the_graph(name, monkeypatch):
    model = named(graph_of(stranger(name)))
    apply_rewrites(model)
    for scope in Scope:
        sites = find_sites(model, scope)
        monkeypatch.setattr(residue, "MOST_MACS", 1.0)
        assert read_in_two_terms(model, sites) == NEAR_THE_PICTURE[name]
        monkeypatch.setattr(residue, "MOST_MACS", 1e-6)
        assert not read_in_two_terms(model, sites)


def test_defians_tail_and_upscaling_are_read_in_two_terms_which_the_record_tells(calibrated):
    assert calibrated.plan.two_terms == {"tail", "upscale"}
    variant = calibrated.variant()
    assert variant.calibration["helped"]["residue"] == 2
    assert variant.calibration["convolutions"] == len(calibrated.sites.convolutions)
    nodes = {node.name: node for node in variant.model.graph}
    for name in ("tail", "upscale"):
        first, second = nodes[name], nodes[f"{name}.residue"]
        assert len(first.inputs) == 3
        assert len(second.inputs) == 2
        for node in (first, second):
            assert [value.producer().op_type for value in node.inputs[:2]] == ["DequantizeLinear"] * 2
        steps = [float(node.inputs[0].producer().inputs[1].const_value.numpy()) for node in (first, second)]
        assert 200 < steps[0] / steps[1] < 254


def test_nothing_of_their_rounding_is_left_in_the_picture(calibrated):
    """Alone, in one term they cost what all others do together."""
    photo = evaluation_pairs(2)[1].lr[:64, :80]
    near = calibrated.sites.only(frozenset({"tail", "upscale"}))
    assert not near.features  # their maps are FP16, or there would be nothing for a second term
    nothing = replace(near, convolutions=())
    fp16 = GraphEvaluator(calibrated.variant(nothing).model)(photo)
    two = GraphEvaluator(calibrated.variant(near).model)(photo)
    weights_alone = psnr(two.values, fp16.values)
    one = replace(calibrated, plan=replace(calibrated.plan, two_terms=frozenset()))
    assert weights_alone > 62.0
    assert psnr(GraphEvaluator(one.variant(near).model)(photo).values, fp16.values) < weights_alone - 10.0


def test_lights_on_black_are_not_clipped(calibrated):
    """No photo of the calibration comes near them: the range has room, because it costs nothing."""
    black = np.zeros((24, 32, 3), np.uint8)
    black[::6, ::5] = 255
    near = calibrated.sites.only(frozenset({"tail", "upscale"}))
    fp16 = GraphEvaluator(calibrated.variant(replace(near, convolutions=())).model)(black)
    assert psnr(GraphEvaluator(calibrated.variant(near).model)(black).values, fp16.values) > 50.0


@pytest.mark.parametrize("scope", Scope)
def test_without_the_helper_there_is_one_term(traced, bundled_x2, scope):
    model = traced(bundled_x2)
    apply_rewrites(model)
    plain = calibrate(model, replace(calibration_set(None, 2, patches=1), size=16), Recipe(scope, residue=False))
    assert not plain.plan.two_terms
    assert "residue" not in plain.record["helped"]
    assert not [node for node in plain.variant().model.graph if (node.name or "").endswith(".residue")]
    assert (len(plain.sites.only(frozenset({"tail", "upscale"})).features) == 2) is (scope is Scope.FEATURES)
