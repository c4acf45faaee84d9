"""tools/quantisers.py as far as the project's own environment goes: ONNX Runtime's quantiser and this project's."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from defian_edge.calibration.photos import evaluation_pairs
from defian_edge.runtime.images import write_png
from tests.conftest import random_checkpoint, tiny
from tools import quantisers


@pytest.fixture
def arguments(tmp_path):
    checkpoint = random_checkpoint(tiny())
    torch.save(checkpoint.state, tmp_path / "tiny.pth")
    (tmp_path / "HR").mkdir()
    write_png(tmp_path / "HR" / "crop.png", evaluation_pairs(2)[0].hr[100:148, 100:148])
    return ["--model", str(tmp_path / "tiny.pth"), "--patches", "1", "--dataset", str(tmp_path / "HR"), "--only"]


def test_onnx_runtime_and_this_project_are_measured_alike(arguments, capsys):
    quantisers.main([*arguments, "min-max"])
    text = capsys.readouterr().out
    assert "quantize_static, min-max" in text
    assert "crop" in text
    quantisers.main([*arguments, "project, conv"])
    assert "this project, convolutions" in capsys.readouterr().out


@pytest.mark.skipif(importlib.util.find_spec("modelopt") is not None, reason="Model Optimizer is installed")
def test_without_model_optimizer_the_error_names_the_environment(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        quantisers.main([*arguments, "Optimizer, max"])
    assert "tools/quantisers.txt" in capsys.readouterr().err
