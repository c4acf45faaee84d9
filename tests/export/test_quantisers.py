"""tools/quantisers.py as far as the project's own environment goes: ONNX Runtime's quantiser and this project's."""

from __future__ import annotations

import importlib.util

import pytest

from tools import quantisers


def rows_of(capsys, *arguments):
    quantisers.main(["--model", "defian-s-x2", "--patches", "1", *arguments])
    return capsys.readouterr().out


def test_onnx_runtime_and_this_project_are_measured_alike(capsys, tmp_path):
    from calibration.photos import evaluation_pairs
    from runtime.images import write_png

    write_png(tmp_path / "crop.png", evaluation_pairs(2)[0].hr[100:148, 100:148])
    text = rows_of(capsys, "--dataset", str(tmp_path), "--only", "min-max")
    assert "289 of 289" in text
    assert "crop" in text
    assert "convolutions" in rows_of(capsys, "--dataset", str(tmp_path), "--only", "project, conv")


@pytest.mark.skipif(importlib.util.find_spec("modelopt") is not None, reason="Model Optimizer is installed")
def test_without_model_optimizer_the_error_names_the_environment(capsys):
    with pytest.raises(SystemExit, match="2"):
        quantisers.main(["--model", "defian-s-x2", "--patches", "1", "--only", "Optimizer, max"])
    assert "tools/quantisers.txt" in capsys.readouterr().err
