"""The one verdict on drift: what it refuses, in which order, and that both commands say the same of the same report."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from defian_edge.benchmark.budget import Budget
from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.drift.hard_images import hard_images, hard_pictures
from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.drift.report import DriftReport, ImageDrift, measure_drift
from defian_edge.calibration.drift.verdict import DriftBudget
from defian_edge.calibration.photos import EvaluationPair
from defian_edge.export.tables import refusals
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import noise

if TYPE_CHECKING:
    import numpy as np


def image(name: str, drift: float, to_reference: float = 60.0, fault: str = "") -> ImageDrift:
    return ImageDrift(name, 30.0 - drift, 30.0, 0.9, 0.9, to_reference, fault)


REPORT = DriftReport("fp16", (image("a", 0.1), image("b", 0.3, 40.0), image("c", 0.0)), hard=("black: black frame",))


def test_reasons_name_the_guards_first_and_then_the_worst_photos():
    verdict = REPORT.verdict(DriftBudget(drift=0.05, psnr_to_reference=50.0, mean_drift=0.1))
    assert not verdict.passed
    assert verdict.reasons == (
        "hard image black: black frame",
        "b lost 0.3000 dB, 0.2500 dB over the budget of 0.05 dB",
        "b has 40.00 dB to the reference's picture of at least 50",
        "a lost 0.1000 dB, 0.0500 dB over the budget of 0.05 dB",
        "lost 0.1333 dB in the mean of at most 0.1",
    )
    assert str(verdict) == "\n".join(f"fp16: {reason}" for reason in verdict.reasons)


def test_a_guard_refuses_without_any_budget_and_a_photo_at_fault_is_named_once():
    report = DriftReport("int8", (image("a", 0.0, fault="NaN or Inf before clamping"),))
    assert report.verdict().reasons == ("a: NaN or Inf before clamping",)
    assert report.verdict(0.01).reasons == ("a: NaN or Inf before clamping",)
    assert DriftReport("fp32", (image("a", 0.0),)).verdict().passed
    assert str(DriftReport("fp32", (image("a", 0.0),)).verdict(0.0)) == "fp32: within the budget"


@pytest.mark.parametrize("budget", [DriftBudget(drift=99.0), DriftBudget(mean_drift=99.0), 99.0])
def test_what_is_no_number_is_within_no_budget(budget):
    assert not DriftReport("x", (ImageDrift("a", math.nan, 30.0, 0.9, 0.9, 60.0),)).verdict(budget).passed


@pytest.mark.parametrize("budget", [None, 0.05, 0.3])
def test_export_and_bench_refuse_for_the_same_reasons(budget):
    artefacts: Any = [SimpleNamespace(verdict=REPORT.verdict(budget))]
    qualities: Any = {"fp16": SimpleNamespace(report=REPORT, tiled=None)}
    assert Budget(drift=budget).exceeded(qualities) == [f"{each}." for each in refusals(artefacts)]


@pytest.mark.parametrize("name", ["drift", "psnr_to_reference", "mean_drift"])
@pytest.mark.parametrize("limit", [-0.1, math.nan, math.inf])
def test_a_limit_that_is_no_limit_is_refused(name, limit):
    with pytest.raises(DefianError, match=r"--m\w+-[\w-]+ of 0 dB or more"):
        DriftBudget(**{name: limit})


def test_hard_images_are_run_behind_the_photos_and_judged():
    def double(lr: np.ndarray) -> np.ndarray:
        return lr.repeat(2, axis=0).repeat(2, axis=1)

    pair = EvaluationPair("one", noise(8, 8, 3), double(noise(8, 8, 3)))
    reference = Reference([pair], [Evaluation(pair.hr, finite=True)], 2, hard_pictures(double))

    def evaluate(lr: np.ndarray) -> Evaluation:
        return Evaluation(double(lr), finite=not (lr == 255).all())

    report = measure_drift("x", evaluate, reference)
    assert report.hard == ("white: NaN or Inf before clamping",)
    assert report.hard_run == len(hard_images()) == report.summary()["hard_images_run"]
    assert report.verdict().reasons == ("hard image white: NaN or Inf before clamping",)


def test_hard_images_have_the_nearest_sizes_that_an_engine_takes():
    profile = ShapeProfile.parse("1x64x64,1x360x640,1x540x960")
    pictures = hard_pictures(lambda lr: lr, profile)
    assert {each.name for each in pictures} == set(hard_images())
    assert {each.lr.shape for each in pictures} == {(64, 64, 3), (64, 960, 3)}
    assert all(profile.contains((1, *each.lr.shape[:2])) for each in pictures)
