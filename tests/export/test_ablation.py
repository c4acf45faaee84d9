"""The two tables of docs/quantisation.md come from these commands' rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from defian_edge.calibration.photos import calibration_set, evaluation_pairs
from tests.conftest import random_checkpoint, tiny
from tools.ablation import ablate, constant_share, trials
from tools.islands import measure_islands


@pytest.fixture(scope="module")
def pairs():
    return [replace(pair, lr=pair.lr[:24, :24], hr=pair.hr[:48, :48]) for pair in evaluation_pairs(2)[:1]]


def test_every_estimator_helper_scope_and_bound_has_a_row():
    labels = [trial.label for trial in trials()]
    assert len(labels) == len(set(labels)) == 2 * 5 + (4 + 1) + (6 + 1) + 2 * 2 + 2 * 3 + 2 * 3 + 2


def unrounded(row):
    return row.report.unrounded_to_reference


@pytest.fixture(scope="module")
def rows(pairs):
    patches = replace(calibration_set(None, 2, patches=1), size=32)
    found = {}
    for wanted in ("convolutions, robust", "convolutions, mse", "alone"):
        found |= {row.label: row for row in ablate(random_checkpoint(tiny()), patches, pairs, wanted)}
    return found


def test_a_row_has_drift_psnr_and_time(rows):
    assert list(rows)[:2] == ["convolutions, robust", "convolutions, robust, without equalise"]
    assert all(unrounded(row) > row.report.psnr_to_reference - 1.0 > 10.0 for row in rows.values())
    assert all(row.seconds > 0 and 0.0 <= row.constant <= 1.0 for row in rows.values())


def test_trials_change_what_they_name(rows):
    base = unrounded(rows["convolutions, robust"])
    assert unrounded(rows["convolutions, weights alone, activations FP16"]) > base
    for factor in ("0.8", "1.25"):
        assert unrounded(rows[f"convolutions, robust, ranges x {factor}"]) != base
    assert unrounded(rows["convolutions, robust, drawn x 0"]) != base


def test_the_constant_share_is_that_of_a_shift():
    noise = np.random.default_rng(0).normal(size=(32, 32, 3))
    noise -= noise.mean(axis=(0, 1), keepdims=True)
    shifted = noise + np.sqrt(np.mean(noise**2))
    assert constant_share([noise], 1) == pytest.approx(0.0, abs=1e-12)
    assert constant_share([shifted], 1) == pytest.approx(0.5)


def test_the_constant_share_counts_every_phase_of_the_upscaling():
    checkerboard = np.indices((32, 32)).sum(axis=0) % 2 - 0.5
    errors = [np.repeat(checkerboard[..., None], 3, axis=2)]
    assert constant_share(errors, 1) == pytest.approx(0.0, abs=1e-12)
    assert constant_share(errors, 2) == pytest.approx(1.0)


def test_every_island_is_left_out_once(pairs):
    islands = list(measure_islands(random_checkpoint(tiny()), pairs))
    assert [row.label for row in islands] == [
        "both islands", "without input", "without statistics", "what measuring finds", "nothing",
        "BF16: all islands", "BF16: without input", "BF16: without output", "BF16: without statistics",
    ]  # fmt: skip
    assert islands[0].report.hard == ()
    assert unrounded(islands[0]) > unrounded(islands[4])
    assert unrounded(islands[5]) > unrounded(islands[7])
