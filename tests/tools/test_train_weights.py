"""The weights that training goes on from reach what their card says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from defian_edge.calibration.drift.metrics import psnr_y
from defian_edge.calibration.photos import evaluation_pairs
from defian_edge.export.reference import reference_outputs
from defian_edge.models.checkpoint import load_checkpoint
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "tools" / "train" / "weights"


def test_the_weights_reach_what_their_card_says(set5):
    network = load_checkpoint(FOLDER / "defian-s-x2.safetensors").network()
    pairs = evaluation_pairs(2, lr=set5 / "LRx2", hr=set5 / "HR")
    outputs = reference_outputs(network, (pair.lr for pair in pairs))
    reached = np.mean([psnr_y(output, pair.hr, 2) for output, pair in zip(outputs, pairs, strict=True)])
    assert reached == pytest.approx(37.473, abs=0.001)


def test_the_log_tells_the_command_and_the_same_figure():
    lines = (FOLDER / "defian-s-x2.log.jsonl").read_text(encoding="utf-8").splitlines()
    summary = json.loads(lines[-1])["summary"]
    assert summary["psnr"]["pairs"] == pytest.approx(37.473, abs=0.001)
    assert summary["steps"] == 6176
    assert summary["command"].startswith("python -m tools.train --scale 2")
