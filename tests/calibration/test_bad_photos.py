"""Calibration photos that a user may well have, and the answer to each."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.photos import calibration_set
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import Scope
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.runtime.errors import DefianError
from tests.conftest import noise, random_checkpoint, tiny


@pytest.fixture
def rewritten(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    return model


def folder_of(tmp_path, **photos):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, pixels in photos.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def limits(rewritten, folder, patches=4):
    return calibrate(rewritten, calibration_set(folder, 2, patches), Recipe()).plan.limits.values()


def test_two_photos_are_enough_and_one_of_them_validates(tmp_path, rewritten):
    folder = folder_of(tmp_path, a=noise(80, 90, 3), b=noise(70, 60, 3, seed=1))
    assert min(limits(rewritten, folder)) > 0
    training, validation = calibration_set(folder, 2, 4).split()
    assert [photo.stem for photo in training.photos] == ["a"]
    assert [pair.name for pair in validation.pairs()] == ["b"]
    assert validation.pairs()[0].hr.shape == (70, 60, 3)


def test_one_photo_cannot_validate(tmp_path):
    with pytest.raises(DefianError, match=r"at least 2 calibration photos.*found 1"):
        calibration_set(folder_of(tmp_path, a=noise(80, 90, 3)), 2, 4).split()


def test_every_fifth_photo_is_held_back_and_seen_by_one_side_only(tmp_path):
    folder = folder_of(tmp_path, **{f"p{index:02}": noise(20, 20, 3, seed=index) for index in range(12)})
    training, validation = calibration_set(folder, 2, 24).split()
    assert [photo.stem for photo in validation.photos] == ["p04", "p09"]
    assert len(training.photos) == 10
    assert not set(training.photos) & set(validation.photos)


def test_photos_smaller_than_a_patch_give_what_they_have(tmp_path, rewritten):
    assert min(limits(rewritten, folder_of(tmp_path, a=noise(14, 18, 3), b=noise(9, 40, 3)))) > 0


def test_black_photos_give_finite_positive_ranges(tmp_path, rewritten):
    black = np.zeros((64, 64, 3), np.uint8)
    calibrated = calibrate(rewritten, calibration_set(folder_of(tmp_path, a=black, b=black), 2, 4), Recipe())
    found = list(calibrated.plan.limits.values())
    assert np.isfinite(found).all()
    assert min(found) > 0


@pytest.mark.parametrize("scope", list(Scope), ids=lambda scope: scope.value)
@pytest.mark.parametrize("grey", [0, 255])
def test_photos_without_any_content_still_give_a_graph_whose_pictures_are_pictures(tmp_path, rewritten, scope, grey):
    flat = np.full((64, 64, 3), grey, np.uint8)
    patches = calibration_set(folder_of(tmp_path, a=flat, b=flat), 2, 4)
    evaluate = GraphEvaluator(calibrate(rewritten, patches, Recipe(scope=scope)).variant().model)
    for image in (flat[:20, :24], noise(20, 24, 3)):
        result = evaluate(image)
        assert result.finite
        # The ranges are those of flat images, so that noise is clipped; it is a picture of the right brightness.
        expected = GraphEvaluator(rewritten)(image).image.astype(float)
        assert abs(result.image.mean() - expected.mean()) < 40.0


def test_a_grey_photo_is_read_as_rgb(tmp_path, rewritten):
    folder = folder_of(tmp_path, a=noise(64, 64), b=noise(64, 64, 3))
    assert next(iter(calibration_set(folder, 2, 2))).shape == (32, 32, 3)
    assert min(limits(rewritten, folder)) > 0


def test_a_photo_that_does_not_decode_is_named_before_any_work_and_nothing_is_written(tmp_path):
    folder = folder_of(tmp_path, **{f"p{index}": noise(40, 40, 3, seed=index) for index in range(5)})
    whole = (folder / "p2.png").read_bytes()
    (folder / "p2.png").write_bytes(whole[: len(whole) // 2])
    said = []
    options = ExportOptions(tmp_path / "out", (Precision.INT8,), calibration=folder, patches=10)
    with pytest.raises(DefianError, match=r"p2\.png"):
        run_export("defian-s-x2", options, said.append)
    assert said == []
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
