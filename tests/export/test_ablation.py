from __future__ import annotations

from dataclasses import replace

from calibration.photos import calibration_set, evaluation_pairs
from export.ablation import ablate, recipes
from tests.conftest import random_checkpoint, tiny


def test_every_estimator_helper_and_scope_has_a_row():
    labels = [label for label, _ in recipes()]
    assert len(labels) == len(set(labels)) == 2 * 4 + 3 + 1


def test_a_row_has_drift_psnr_and_time():
    patches = replace(calibration_set(None, 2, patches=1), size=32)
    pairs = [replace(pair, lr=pair.lr[:24, :24], hr=pair.hr[:48, :48]) for pair in evaluation_pairs(2)[:1]]
    rows = list(ablate(random_checkpoint(tiny()), patches, pairs, "convolutions, m"))
    assert [row.label for row in rows][:2] == ["convolutions, minmax", "convolutions, mse"]
    assert all(row.unrounded > row.report.psnr_to_reference - 1.0 > 10.0 for row in rows)
    assert all(row.seconds > 0 for row in rows)
