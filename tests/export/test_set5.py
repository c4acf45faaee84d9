"""What must hold on the bundled x2 checkpoint and Set5, through export.py's own code."""

from __future__ import annotations

import math

import pytest

from defian_edge.calibration.drift.report import report_of
from defian_edge.calibration.photos import evaluation_pairs
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import Scope
from defian_edge.export.reference import reference_evaluations
from defian_edge.models.bundled import bundled_models
from defian_edge.models.checkpoint import load_checkpoint

CARD = {2: 37.631, 4: 31.442}
"""PSNR-Y on Set5 of models/weights/README.md."""


@pytest.fixture(scope="module", params=[2, 4], ids=["x2", "x4"])
def result(request, set5, tmp_path_factory):
    scale = request.param
    options = ExportOptions(
        out=tmp_path_factory.mktemp("set5"),
        lr=set5 / f"LRx{scale}",
        hr=set5 / "HR",
        rewrite_memory=False,
    )
    return scale, run_export(f"defian-s-x{scale}", options)


def drift_of(result, precision):
    return next(a.drift for a in result[1].artefacts if a.variant.precision is precision)


def test_the_fp32_graph_reproduces_the_psnr_on_the_card(result):
    assert drift_of(result, Precision.FP32).mean_psnr == pytest.approx(CARD[result[0]], abs=0.01)


def test_the_fp32_graph_does_not_drift(result):
    assert abs(drift_of(result, Precision.FP32).worst.drift) < 1e-3
    assert drift_of(result, Precision.FP32).psnr_to_reference > 80.0
    assert drift_of(result, Precision.FP32).unrounded_to_reference > 100.0


def test_fp16_drifts_by_at_most_two_thousandths_of_a_decibel(result):
    assert drift_of(result, Precision.FP16).worst.drift <= 0.002


def test_int8_keeps_its_budget(result):
    drift = drift_of(result, Precision.INT8)
    assert drift.mean <= 0.02
    assert drift.worst.drift <= 0.06
    assert drift.unrounded_to_reference >= 57.0


@pytest.mark.parametrize("scale", [2, 4])
def test_int8_of_all_feature_maps_keeps_its_budget(scale, set5, tmp_path):
    options = ExportOptions(
        out=tmp_path,
        precisions=(Precision.INT8,),
        recipe=Recipe(scope=Scope.FEATURES),
        lr=set5 / f"LRx{scale}",
        hr=set5 / "HR",
        rewrite_memory=False,
    )
    [artefact] = run_export(f"defian-s-x{scale}", options).artefacts
    assert artefact.drift is not None
    assert artefact.drift.mean <= 0.03
    assert artefact.drift.worst.drift <= 0.10
    assert artefact.drift.unrounded_to_reference >= 54.0


@pytest.mark.parametrize("scale", [2, 4])
def test_int8_keeps_its_budget_on_photos_that_nobody_calibrated_or_tuned_on(scale, set5, tmp_path):
    photos = sorted((set5.parent / "photos").glob("*.jpg"))[19::200]  # of every 20th, on which nothing was chosen
    (tmp_path / "unseen").mkdir()
    for photo in photos:
        (tmp_path / "unseen" / photo.name).symlink_to(photo)
    options = ExportOptions(
        out=tmp_path,
        precisions=(Precision.INT8,),
        dataset=tmp_path / "unseen",
        rewrite_memory=False,
    )
    [artefact] = run_export(f"defian-s-x{scale}", options).artefacts
    assert artefact.drift is not None
    assert len(artefact.drift.images) == 2
    assert artefact.drift.mean <= 0.02
    assert artefact.drift.worst.drift <= 0.06
    assert artefact.drift.unrounded_to_reference >= 57.0


def test_the_card_holds_for_pytorch_itself(set5):
    checkpoint = load_checkpoint(bundled_models()["defian-s-x2"])
    pairs = evaluation_pairs(2, lr=set5 / "LRx2", hr=set5 / "HR")
    references = reference_evaluations(checkpoint.network(), (pair.lr for pair in pairs))
    report = report_of("itself", references, references, pairs, 2)
    assert report.mean == 0.0
    assert report.unrounded_to_reference == math.inf
    assert [round(image.psnr, 3) for image in report.images] == [38.851, 42.584, 34.559, 35.932, 36.229]
