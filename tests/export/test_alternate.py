"""Every other map of a residual stream FP16: which ones they are, and that it is worth more than their share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.metrics import psnr
from defian_edge.calibration.photos import calibration_set, evaluation_pairs
from defian_edge.export.precision.int8.alternate import left_fp16
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import FeatureSite, Scope, Sites, find_sites, is_stream, origin_of
from defian_edge.export.rewrites import apply_rewrites

ALL = Recipe(scope=Scope.FEATURES, alternate=False)


@pytest.fixture(scope="module")
def rewritten(traced, bundled_x2):
    model = traced(bundled_x2)
    apply_rewrites(model)
    return model


@pytest.fixture(scope="module")
def patches():
    return replace(calibration_set(None, 2, patches=3), size=48)


def by_group(sites):
    return [[site for site in sites if site.group == group] for group in dict.fromkeys(site.group for site in sites)]


def streams(sites):
    return [site for site in sites.features if is_stream(site.group)]


@pytest.mark.parametrize(
    ("maps", "fp16"),
    [(1, "0"), (2, "01"), (3, "02"), (4, "023"), (5, "024"), (6, "0245"), (11, "0 2 4 6 8 10")],
)
def test_the_first_every_second_and_the_last_stay(maps, fp16):
    sites = tuple(FeatureSite(str(index), group) for index in range(maps) for group in ("a.0.stream", "a.0.conv"))
    expected = set(fp16.split()) if " " in fp16 else set(fp16)
    assert left_fp16(Sites((), sites)) == expected


def test_five_of_the_eleven_maps_of_each_module_are_int8_and_all_others_as_before(rewritten, patches):
    found = find_sites(rewritten, Scope.FEATURES)
    calibrated = calibrate(rewritten, patches, Recipe(scope=Scope.FEATURES))
    kept = {origin_of(site.tensor) for site in calibrated.sites.features}
    left_out = [site for site in found.features if site.tensor not in kept]
    assert len(streams(found)) == 55
    assert len([site for site in left_out if is_stream(site.group)]) == 30
    assert {site.group for site in left_out if not is_stream(site.group)} == {"tail", "upscale"}
    assert calibrated.record["helped"]["alternate"] == 30
    assert {site.group for site in streams(calibrated.sites)} == {f"body.{index}.stream" for index in range(5)}


def test_half_the_roundings_cost_less_than_half_and_those_at_the_ends_most(rewritten, patches):
    """The streams alone, against the graph in FP16: 3 dB would be half the power of the errors."""
    photo = evaluation_pairs(2)[1].lr[:64, :80]
    calibrated = calibrate(rewritten, patches, ALL)
    fp16 = GraphEvaluator(calibrated.variant(Sites((), ())).model)(photo).values
    all_maps = tuple(streams(calibrated.sites))
    stay = {maps[index].tensor for maps in by_group(all_maps) for index in range(0, 11, 2)}

    def figure(chosen):
        return psnr(GraphEvaluator(calibrated.variant(Sites((), tuple(chosen))).model)(photo).values, fp16)

    every = figure(all_maps)
    inside = figure(site for site in all_maps if site.tensor not in stay)
    ends = figure(site for site in all_maps if site.tensor in stay)
    assert inside > every + 4.0
    assert inside > ends + 1.0


def test_in_the_convolutions_scope_it_is_no_helper(rewritten, patches):
    assert "alternate" not in calibrate(rewritten, patches, Recipe()).record["helped"]
