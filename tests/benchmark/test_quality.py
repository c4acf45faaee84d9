from __future__ import annotations

import numpy as np
import pytest

from benchmark.quality import cropped_photos, measure_quality
from calibration.metrics import luma
from calibration.photos import evaluation_pairs
from export.reference import upscale
from models.bundled import bundled_models
from models.checkpoint import load_checkpoint
from runtime.errors import DefianError
from runtime.files import sha256_of
from tests.benchmark.conftest import made_up

LUMA_OF_GREY = 219.0 / 255.0
"""How much Y of BT.601 in studio range changes when R, G and B all change by one."""


@pytest.fixture(scope="module")
def one_photo():
    [photo] = [pair for pair in evaluation_pairs(2) if pair.name == "astronaut"]
    return [photo]


@pytest.fixture(scope="module")
def network():
    return load_checkpoint(bundled_models()["defian-s-x2"]).network()


@pytest.mark.parametrize("planted", [0.1, 0.0])
def test_planted_noise_is_found_to_a_hundredth_of_a_decibel(one_photo, network, planted):
    [pair] = one_photo
    reference = upscale(network, pair.lr[None])
    error = float(np.mean((luma(reference[0], 2) - luma(pair.hr, 2)) ** 2))
    # Steps of one grey level at random pixels have exactly the variance that costs the planted decibels.
    share = error * (10 ** (planted / 10) - 1) / LUMA_OF_GREY**2
    assert share < 1
    random = np.random.default_rng(1)
    steps = random.choice([-1, 0, 1], p=[share / 2, 1 - share, share / 2], size=(*reference.shape[:3], 1))
    noisy = np.clip(reference.astype(int) + steps, 0, 255).astype(np.uint8)
    candidate = made_up("noisy", lambda _: noisy, sha256=sha256_of(bundled_models()["defian-s-x2"]))
    quality = measure_quality([candidate], one_photo, None, "cpu")["noisy"]
    assert quality.report.mean == pytest.approx(planted, abs=0.01)
    moved = np.abs(noisy.astype(int) - reference).ravel()
    assert quality.differences == tuple(np.trim_zeros(np.bincount(moved), "b"))
    np.testing.assert_array_equal(quality.worst.candidate, noisy[0])
    np.testing.assert_array_equal(quality.worst.reference, reference[0])
    np.testing.assert_array_equal(quality.worst.hr, pair.hr)


def test_a_candidate_of_unknown_weights_needs_a_reference(one_photo, artefacts):
    stranger = made_up("stranger", lambda images: images, sha256="f" * 64)
    with pytest.raises(
        DefianError, match=r"not at hand: expected a file of SHA-256 ffffffffffffffff[\s\S]*--reference"
    ):
        measure_quality([stranger], one_photo, None, "cpu")
    with pytest.raises(DefianError, match="expected a reference of scale 2, found 3"):
        measure_quality([stranger], one_photo, str(artefacts / "other-scale.pth"), "cpu")


def test_photos_that_are_cropped_are_named(photos):
    assert cropped_photos(photos, 2) == ["odd.png: 47x41 is no multiple of 2, cropped to 46x40."]
