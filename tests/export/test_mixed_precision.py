"""The choice of what is INT8, with a stand-in that knows what every group costs, and once for real."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.drift.report import DriftReport, ImageDrift
from defian_edge.calibration.photos import calibration_set
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.mixed_precision import choose
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sensitivity import Validation, as_json, rank
from defian_edge.export.precision.int8.shares import Shares
from defian_edge.export.precision.int8.sites import ConvolutionSite, Scope, Sites, find_sites, is_module
from defian_edge.export.reference import reference_evaluations
from defian_edge.export.rewrites import apply_rewrites
from tests.conftest import random_checkpoint, tiny

COST = {"a": 0.001, "b": 0.02, "c": 0.1, "d": 0.004}


@dataclass
class _Known:
    """Groups a to d, whose drifts add up."""

    sites: Sites = field(
        default_factory=lambda: Sites(tuple(ConvolutionSite(f"{name}.conv", f"{name}.in", name) for name in COST), ())
    )


@dataclass
class _Adding:
    """A validation whose drift is the sum of the groups' costs."""

    asked: int = 0
    faulty: str = ""
    costs: dict[str, float] = field(default_factory=lambda: COST)

    def drift(self, _, sites):
        self.asked += 1
        total = sum(self.costs[group] for group in sites.groups)
        fault, unrounded = "", psnr(0.05 + total)
        if self.faulty in sites.groups:
            fault, unrounded = "values are not finite", math.nan
        image = ImageDrift("v", 30.0 - total, 30.0, 1.0, 1.0, 50.0, fault, unrounded)
        return DriftReport("int8", (image,))


def stand_ins() -> tuple[Any, Any, Any]:
    """What is calibrated, how it validates, and what its groups cover."""
    return _Known(), _Adding(), _Equal()


def psnr(error):
    return 10 * math.log10(255.0**2 / error)


class _Uneven:
    """Group c covers nearly everything."""

    def macs(self, sites):
        return sum(0.97 if name == "c" else 0.01 for name in sites.groups)

    def bytes(self, sites):
        return 0.0 * len(sites.features)


class _Equal:
    """Every group is a quarter of the network."""

    def macs(self, sites):
        return len(sites.convolutions) / 4

    def bytes(self, sites):
        return 0.0 * len(sites.features)


def test_the_ranking_is_by_excess_error():
    assert [each.group for each in rank(*stand_ins())] == ["c", "b", "d", "a"]
    assert rank(*stand_ins())[0].excess_error == pytest.approx(0.1)


def test_a_group_at_fault_is_the_most_harmful_and_goes_first():
    known, validation, equal = stand_ins()
    validation.faulty = "a"
    sensitivities = rank(known, validation, equal)
    assert [each.group for each in sensitivities] == ["a", "c", "b", "d"]
    assert json.loads(json.dumps(as_json(sensitivities), allow_nan=False))[0]["excess_error"] is None
    mixed, _ = choose(known, validation, equal, 0.03, sensitivities)
    assert "".join(mixed.groups) == "bd"


@pytest.mark.parametrize(
    ("budget", "kept"),
    [(1.0, "abcd"), (0.126, "abcd"), (0.124, "abd"), (0.02, "ad"), (0.004, "a"), (0.0005, "")],
)
def test_the_largest_coverage_within_the_budget_is_chosen(budget, kept):
    mixed, sensitivities = choose(*stand_ins(), budget)
    assert "".join(mixed.groups) == kept
    assert mixed.mac_share == len(kept) / 4
    assert set(mixed.dropped) == set(COST) - set(kept)
    assert bool(sensitivities) == (kept != "abcd")  # the ranking costs time and is made only if something must go
    assert mixed.validation["worst_drift_db"] == pytest.approx(sum(COST[name] for name in kept))


def test_a_cheap_group_that_went_early_comes_back_if_the_budget_has_room_for_it():
    known, validation, _ = stand_ins()
    shares: Any = _Uneven()
    # Per share b costs most, then d, c, a: leaving out the first three keeps 0.024, and d fits in beside a.
    mixed, _ = choose(known, validation, shares, 0.024)
    assert "".join(mixed.groups) == "ad"
    assert set(mixed.dropped) == set("bc")
    assert mixed.validation["worst_drift_db"] == pytest.approx(COST["a"] + COST["d"])


def test_a_module_is_ranked_with_all_of_its_groups_and_never_dropped_as_one():
    groups = ("body.0.body_block.0", "body.0.stream", "body.1.body_block.0", "tail")
    sites = Sites(tuple(ConvolutionSite(f"{name}.conv", f"{name}.in", name) for name in groups), ())
    assert sites.parts["body.0"] == frozenset(groups[:2])
    assert set(sites.parts) == {*groups, "body.0", "body.1"}
    assert {part for part in sites.parts if is_module(part, sites.parts)} == {"body.0", "body.1"}
    validation: Any = _Adding(costs=dict(zip(groups, (0.01, 0.02, 0.04, 0.08), strict=True)))
    known: Any = _Known(sites)
    shares: Any = _Equal()
    sensitivities = {each.group: each.excess_error for each in rank(known, validation, shares)}
    assert sensitivities["body.0"] == pytest.approx(0.03)
    assert next(iter(sensitivities)) == "tail"
    # A module of one group harms as it does.
    assert set(list(sensitivities)[1:3]) == {"body.1", "body.1.body_block.0"}
    mixed, _ = choose(known, validation, shares, 0.05)
    assert set(mixed.dropped) <= set(groups)


def test_without_a_budget_everything_is_taken_and_measured_once():
    known, validation, equal = stand_ins()
    mixed, _ = choose(known, validation, equal, None)
    assert "".join(mixed.groups) == "abcd"
    assert validation.asked == 1


def test_on_a_real_network_the_measured_drift_keeps_the_budget(traced):
    checkpoint = random_checkpoint(tiny())
    model = traced(checkpoint)
    apply_rewrites(model)
    training, held_back = replace(calibration_set(None, 2, patches=10), size=32).split()
    pairs = held_back.pairs()
    references = reference_evaluations(checkpoint.network(), (pair.lr for pair in pairs))
    validation = Validation(Reference(pairs, references, 2))
    calibrated = calibrate(model, training, Recipe(scope=Scope.FEATURES, residue=False, alternate=False))
    shares = Shares(model, find_sites(model, Scope.FEATURES), (1, 48, 64))
    full, _ = choose(calibrated, validation, shares, None)
    assert full.byte_share == pytest.approx(1.0)
    assert full.mac_share > 0.5
    budget = full.validation["worst_drift_db"] - 1e-6
    chosen, sensitivities = choose(calibrated, validation, shares, budget)
    assert {each.group for each in sensitivities} == {*calibrated.sites.groups, "body.0", "body.1"}
    assert set(chosen.groups) < set(full.groups)
    assert chosen.mac_share + chosen.byte_share < full.mac_share + full.byte_share
    kept = calibrated.sites.only(frozenset(chosen.groups))
    assert chosen.groups
    assert validation.drift(calibrated, kept).worst.drift <= budget
