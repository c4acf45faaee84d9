"""``measure_drift`` of whatever can be run, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import defian_edge as de
from defian_edge.export.options import ExportOptions
from defian_edge.export.reference import upscale
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.guard import FrameGuard
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import noise, random_checkpoint, tiny
from tests.doubles.enlarger import Enlarger

if TYPE_CHECKING:
    from defian_edge.models.checkpoint import Checkpoint


class OfNetwork(Enlarger):
    """A session that gives PyTorch's pictures, brighter by some grey levels; ``seen`` keeps the shapes."""

    def __init__(self, checkpoint: Checkpoint, brighter: int = 0, profile: str = "") -> None:
        super().__init__(checkpoint.architecture.scale, profile)
        self._network, self._brighter = checkpoint.network(), brighter
        self.guard = FrameGuard()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.seen.append(images.shape)
        return np.clip(upscale(self._network, images).astype(int) + self._brighter, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return random_checkpoint(tiny())


@pytest.fixture(scope="module")
def pairs(checkpoint) -> list[de.EvaluationPair]:
    lr = noise(12, 16, 3)
    hr = upscale(checkpoint.network(), lr[None])[0].astype(int) + np.random.default_rng(0).integers(-9, 10, (24, 32, 3))
    return [de.EvaluationPair("photo", lr, np.clip(hr, 0, 255).astype(np.uint8))]


def test_a_network_against_itself_loses_nothing(checkpoint, pairs):
    said: list[str] = []
    report = de.measure_drift(checkpoint.network(), checkpoint, pairs, progress=said.append)
    assert report.verdict(0.0).passed
    assert report.unrounded_to_reference == np.inf
    assert len(said) == 2


def test_an_open_session_is_measured_as_it_is_and_stays_open(checkpoint, pairs):
    session = OfNetwork(checkpoint, brighter=6)
    report = de.measure_drift(session, checkpoint, pairs)
    assert not session.closed
    assert not report.verdict(0.05).passed
    assert report.psnr_to_reference == pytest.approx(20 * np.log10(255 / 6), abs=0.5)
    assert np.isnan(report.unrounded_to_reference)


def test_an_engine_meets_the_hard_images_in_sizes_that_it_takes(checkpoint, pairs):
    session = OfNetwork(checkpoint, profile="1x12x16,1x12x16,1x20x40")
    assert de.measure_drift(session, checkpoint, pairs).hard_run == 6
    profile = session.profile
    assert profile is not None
    assert all(profile.contains((shape[0], shape[1], shape[2])) for shape in session.seen)


def test_another_scale_pairs_that_do_not_fit_and_stray_options_are_refused(checkpoint, pairs):
    with pytest.raises(DefianError, match="Expected a candidate of scale 2"):
        de.measure_drift(Enlarger(4), checkpoint, pairs)
    with pytest.raises(DefianError, match="at least one pair"):
        de.measure_drift(checkpoint, checkpoint, [])
    wrong = de.EvaluationPair("x", noise(8, 8, 3), noise(17, 16, 3))
    with pytest.raises(DefianError, match=r"x: expected HR of \[16, 16, 3\], found \[17, 16, 3\]"):
        de.measure_drift(checkpoint, checkpoint, [wrong])
    with pytest.raises(DefianError, match="the path of a graph or engine alone"):
        de.measure_drift(Enlarger(), checkpoint, pairs, backend=de.GraphBackend())


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", ".hidden", "x\n"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(DefianError, match="Expected a name of letters"):
        ExportOptions(tmp_path, name=name)


def test_folders_may_be_texts(tmp_path):
    options = ExportOptions(str(tmp_path), dataset="photos", profile=ShapeProfile.parse("1x8x8"))  # type: ignore[arg-type]
    assert options.out / "x" == tmp_path / "x"
    assert options.dataset is not None
    assert options.dataset.name == "photos"
