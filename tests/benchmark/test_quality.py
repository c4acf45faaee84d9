from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from defian_edge.benchmark.budget import Budget
from defian_edge.benchmark.inputs import images_of, pixels_sha256
from defian_edge.benchmark.measure.quality import cropped_pairs, cropped_photos, measure_quality
from defian_edge.benchmark.measure.tiling import EvaluatedSession, require_fit, tile_remark
from defian_edge.benchmark.options import BenchOptions
from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.drift.metrics import luma, psnr, psnr_y
from defian_edge.calibration.photos import EvaluationPair, evaluation_pairs
from defian_edge.export.reference import upscale
from defian_edge.models.bundled import bundled_models
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import sha256_of
from defian_edge.runtime.images import write_png
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.tiles import TiledSession
from defian_edge.runtime.tiling import Tiling
from tests.benchmark.made_up import made_up
from tests.conftest import noise
from tests.doubles.enlarger import Enlarger

LUMA_OF_GREY = 219.0 / 255.0
"""How much Y of BT.601 in studio range changes when R, G and B all change by one."""


@pytest.fixture(scope="module")
def network(artefacts):
    return load_checkpoint(artefacts / "tiny.pth").network()


@pytest.fixture(scope="module")
def one_photo(network):
    """A photo whose HR is the network's own output and an error of some 38 dB."""
    [photo] = [pair for pair in evaluation_pairs(2) if pair.name == "astronaut"]
    error = np.random.default_rng(0).normal(0.0, 4.0, photo.hr.shape[:2])[..., None]
    hr = np.clip(np.rint(upscale(network, photo.lr[None])[0] + error), 0, 255).astype(np.uint8)
    return [EvaluationPair(photo.name, photo.lr, hr)]


@pytest.mark.parametrize("planted", [0.1, 0.0])
def test_planted_noise_is_found_to_a_hundredth_of_a_decibel(one_photo, network, artefacts, planted):
    [pair] = one_photo
    reference = upscale(network, pair.lr[None])
    error = float(np.mean((luma(reference[0], 2) - luma(pair.hr, 2)) ** 2))
    # Steps of one grey level at random pixels have exactly the variance that costs the planted decibels.
    share = error * (10 ** (planted / 10) - 1) / LUMA_OF_GREY**2
    assert share < 1
    random = np.random.default_rng(1)
    steps = random.choice([-1, 0, 1], p=[share / 2, 1 - share, share / 2], size=(*reference.shape[:3], 1))
    noisy = np.clip(reference.astype(int) + steps, 0, 255).astype(np.uint8)
    candidate = made_up("noisy", lambda _: noisy)
    quality = measure_quality([candidate], one_photo, str(artefacts / "tiny.pth"), "cpu")["noisy"]
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


class Blurred:
    """Pixels repeated, less the mean of the image: a tile has another mean, as in the network."""

    def __call__(self, images):
        large = images.repeat(2, axis=1).repeat(2, axis=2).astype(int)
        return np.clip(large - large.mean(axis=(1, 2, 3), keepdims=True) // 8, 0, 255).astype(np.uint8)


def test_what_tiles_cost_is_the_picture_in_tiles_against_the_one_in_one_piece(artefacts):
    run, lr = Blurred(), np.linspace(0, 255, 40 * 48 * 3).reshape(40, 48, 3).astype(np.uint8)
    pairs = [EvaluationPair("ramp", lr, run(lr[None])[0] ^ 1)]  # off by one, so that there is a PSNR to lose
    candidate = made_up("blurred", run)
    tiling = Tiling(16, 16, 4)
    reference = str(artefacts / "tiny.pth")
    quality = measure_quality([candidate], pairs, reference, "cpu", tiling=tiling)["blurred"]
    assert quality.tiled is not None
    [image] = quality.tiled.images
    tiled = TiledSession(EvaluatedSession(candidate, lambda each: Evaluation(run(each[None])[0], finite=True)), tiling)
    expected = tiled(lr[None])[0]
    assert image.psnr == pytest.approx(psnr_y(expected, pairs[0].hr, 2))
    assert image.psnr_to_reference == pytest.approx(psnr(expected, run(lr[None])[0]))
    assert 0 < image.drift < 60
    [black, over] = Budget(tile_drift=image.drift / 2).exceeded({"blurred": quality})
    assert black == "blurred: hard image black: black frame."  # which the reference's picture of black is not
    assert over == f"blurred: ramp lost {image.drift:.4f} dB in tiles of at most {image.drift / 2:g}."
    assert Budget(tile_drift=image.drift).exceeded({"blurred": quality}) == [black]
    local = made_up("local", lambda images: images.repeat(2, axis=1).repeat(2, axis=2))
    nothing = measure_quality([local], pairs, reference, "cpu", tiling=tiling)["local"].tiled
    assert nothing is not None
    assert (nothing.mean, nothing.psnr_to_reference) == (0.0, np.inf)
    assert measure_quality([local], pairs, reference, "cpu")["local"].tiled is None


def test_images_that_are_smaller_than_a_tile_or_outside_of_an_engines_profile_are_told():
    pairs = [EvaluationPair(name, np.zeros((size, 8, 3), np.uint8), np.zeros(0)) for name, size in (("a", 8), ("b", 9))]
    assert tile_remark(pairs, None) == tile_remark(pairs, Tiling(4, 4, 0)) == []
    [sentence] = tile_remark(pairs, Tiling(8, 8, 2))
    assert sentence.startswith("Only 1 of 2 images are larger than a tile of 8x8, overlap 2")
    manifest = Enlarger().manifest
    engine = replace(
        made_up("engine", lambda images: images), manifest=replace(manifest, profile=ShapeProfile.parse("1x8x8"))
    )
    require_fit([replace(engine, run=None)], pairs, None)
    require_fit([engine], pairs[:1], Tiling(8, 8, 2))
    with pytest.raises(DefianError, match=r"engine: expected images inside the profile 1x8x8.*image of b, 9x8"):
        require_fit([engine], pairs, None)
    with pytest.raises(DefianError, match="the tile of a, 4x4"):
        require_fit([engine], pairs[:1], Tiling(4, 4, 0))


def test_photos_of_one_name_are_kept_apart_by_their_folders(tmp_path):
    for place in ("a/same.png", "b/same.png", "other.png"):
        write_png(tmp_path / place, noise(8, 8, 3))
    names = [pair.name for pair in evaluation_pairs(2, tmp_path)]
    assert sorted(names) == ["a/same.png", "b/same.png", "other"]


@pytest.mark.parametrize("twice", ["lr", "hr"])
def test_two_lr_or_hr_images_of_one_name_are_refused(tmp_path, twice):
    for folder, side in (("lr", 8), ("hr", 16)):
        write_png(tmp_path / folder / "same.png", noise(side, side, 3))
    assert len(evaluation_pairs(2, lr=tmp_path / "lr", hr=tmp_path / "hr")) == 1
    write_png(tmp_path / twice / "more" / "same.png", noise(8, 8, 3))
    with pytest.raises(DefianError, match=r"same\.png.*same\.png: expected one image of a name"):
        evaluation_pairs(2, lr=tmp_path / "lr", hr=tmp_path / "hr")


def test_the_images_are_counted_and_folders_below_are_mentioned(tmp_path):
    write_png(tmp_path / "one.png", noise(16, 16, 3))
    options = BenchOptions(("a",), ((1, 8, 8),), dataset=tmp_path)
    candidates = [made_up("a", lambda images: images, sha256=sha256_of(bundled_models()["defian-s-x2"]))]
    _, words, _ = images_of(options, candidates)
    assert words == f"1 image of {tmp_path}, LR by Pillow's bicubic"
    write_png(tmp_path / "deep" / "two.png", noise(16, 16, 3))
    _, words, _ = images_of(options, candidates)
    assert words == f"2 images of {tmp_path} and the folders in it, LR by Pillow's bicubic"


def test_images_are_known_again_by_their_pixels_and_not_by_their_names():
    one, two = (EvaluationPair(name, noise(4, 4, 3), noise(8, 8, 3)) for name in "ab")
    changed = EvaluationPair("a", one.lr, one.hr ^ 1)
    assert pixels_sha256([]) == ""
    assert pixels_sha256([one, two]) == pixels_sha256([two, replace(one, name="c")])
    assert len({pixels_sha256(pairs) for pairs in ([one], [changed], [one, one])}) == 3


def test_hr_that_is_cropped_or_has_no_lr_is_named(tmp_path):
    for folder, name, side in (("lr", "a", 8), ("hr", "a", 17), ("lr", "b", 8), ("hr", "b", 16), ("hr", "c", 16)):
        write_png(tmp_path / folder / f"{name}.png", noise(side, side, 3))
    cropped, alone = cropped_pairs(tmp_path / "lr", tmp_path / "hr", 2)
    assert cropped == "a.png: 17x17 is not 2 times its LR, cropped to 16x16."
    assert alone.startswith("c.png has no LR image of its name")


def test_photos_that_are_cropped_are_named(photos):
    assert cropped_photos(photos, 2) == ["odd.png: 47x41 is no multiple of 2, cropped to 46x40."]
