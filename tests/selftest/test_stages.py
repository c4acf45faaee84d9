"""What stages make of the tools and packages that they find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from defian_edge.selftest.failures import MARK
from defian_edge.selftest.protocol import CannotRun, Record, Settings
from defian_edge.selftest.stages import gpu_tests, kernel, sanitizer, training
from defian_edge.selftest.stages.environment import newer_than_the_driver
from defian_edge.selftest.torch_network import Upscaler
from tests.conftest import REPOSITORY, noise, random_checkpoint, tiny
from tests.export.hessian_cases import random_case, reference


@pytest.fixture
def record(tmp_path) -> Record:
    return Record(tmp_path / "result.json")


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    """As if there were a GPU."""
    for stage in (sanitizer, training):
        monkeypatch.setattr(stage, "open_gpu", nullcontext)
    return Settings(str(tmp_path), train_pictures=str(tmp_path), seconds=200.0)


def passed(record: Record) -> dict[str, bool]:
    return {check["name"]: check["passed"] for check in json.loads(record.path.read_text())["checks"]}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("========= ERROR SUMMARY: 0 errors", True),
        ("========= ERROR SUMMARY: 3 errors", False),
        ("========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)", False),
    ],
)
def test_what_compute_sanitizer_counts_is_held_against_zero(settings, record, tmp_path, monkeypatch, said, expected):
    program = tmp_path / "compute-sanitizer"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    sanitizer.run(settings, record)
    found = {name: good for name, good in passed(record).items() if "errors" in name}
    assert found == {"memcheck errors": expected, "racecheck errors": expected}


def test_a_program_that_died_under_the_sanitizer_is_no_proof(settings, record, tmp_path, monkeypatch):
    program = tmp_path / "compute-sanitizer"
    program.write_text("#!/bin/sh\necho '========= ERROR SUMMARY: 0 errors'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    sanitizer.run(settings, record)
    assert passed(record)["memcheck: exit status of the program"] is False


def test_a_sanitizer_that_gives_no_summary_is_no_proof(settings, record, tmp_path, monkeypatch):
    program = tmp_path / "compute-sanitizer"
    program.write_text("#!/bin/sh\necho 'Device not supported'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(CannotRun, match="gave no summary"):
        sanitizer.run(settings, record)
    assert "Device not supported" in record.notes[0]


def test_the_trainer_is_started_with_options_that_it_has_and_its_summary_is_kept(settings, record, monkeypatch):
    started: list[str] = []

    def train(command, **_):
        started.extend(command)
        out = Path(command[command.index("--out") + 1])
        out.mkdir()
        (out / "summary.json").write_text('{"images_per_second": 587.5}')
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(training.subprocess, "run", train)
    training.run(settings, record)
    monkeypatch.undo()
    assert record.figures["training"] == {"images_per_second": 587.5}
    assert float(started[started.index("--minutes") + 1]) == 3.0
    shown = subprocess.run(
        [sys.executable, "-m", "tools.train", "--help"], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert all(option in shown.stdout for option in started if option.startswith("--"))


def test_a_trainer_that_fails_is_a_failure(settings, record, monkeypatch):
    monkeypatch.setattr(training.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 2))
    training.run(settings, record)
    assert passed(record) == {"exit status of the trainer": False, "images per second": False}


class Running:
    """A ``Popen`` that has these lines to say."""

    def __init__(self, *lines: str) -> None:
        self.stdout = [f"{line}\n" for line in lines]

    def __call__(self, *_, **__):
        return nullcontext(self)


@pytest.mark.parametrize(
    ("summary", "outcome"),
    [
        ("57 passed, 3 skipped in 10.34s", {"tests that failed": True}),
        ("1 failed, 56 passed in 10.34s", {"tests that failed": False}),
        ("2 errors in 1.00s", {"tests that failed": False}),
        ("", {"tests that failed": False}),
    ],
)
def test_the_gpu_tests_are_counted(settings, record, monkeypatch, summary, outcome):
    monkeypatch.setattr(gpu_tests.subprocess, "Popen", Running("tests/x.py::test_a PASSED [ 50%]", summary))
    gpu_tests.run(settings, record)
    assert passed(record) == outcome


def test_a_gpu_test_that_fails_is_kept_even_if_the_stage_is_ended_before_the_summary(settings, record, monkeypatch):
    monkeypatch.setattr(gpu_tests.subprocess, "Popen", Running("tests/x.py::test_a FAILED [ 50%]"))
    gpu_tests.run(settings, record)
    assert passed(record)["tests/x.py::test_a"] is False


def test_the_words_of_a_failure_come_when_it_happens(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_bad():\n    assert 1 == 2, 'so it is'\n\ndef test_good(): pass\n")
    plugin = ["-p", "defian_edge.selftest.failures", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", *plugin, str(tmp_path / "test_it.py")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    words, good = done.stdout.index(f"{MARK} test_it.py::test_bad"), done.stdout.index("test_good PASSED")
    assert words < good
    assert "AssertionError: so it is" in done.stdout[words:good]


def test_gpu_tests_that_all_skip_are_no_proof(settings, record, monkeypatch):
    said = ("SKIPPED [1] tests/x.py:3: no GPU", "3 skipped in 1.00s")
    monkeypatch.setattr(gpu_tests.subprocess, "Popen", Running(*said))
    with pytest.raises(CannotRun, match="Every test skipped"):
        gpu_tests.run(settings, record)
    assert record.notes == ["SKIPPED [1] tests/x.py:3: no GPU"]


def test_packages_newer_than_the_driver_are_named_with_the_cure():
    packages = {"cuda-bindings": "13.3.1", "nvidia-cuda-nvrtc": "13.0.88"}
    assert newer_than_the_driver("13.0", packages, "13.0") == []
    bindings, nvrtc, torchs = newer_than_the_driver("12.4", packages, "13.0")
    assert "supports CUDA 12.4, and cuda-bindings 13.3.1 is of CUDA 13" in bindings
    assert "pip install 'cuda-bindings==12.*'" in bindings
    assert "pip install nvidia-cuda-nvrtc-cu12" in nvrtc
    assert "this PyTorch is built for CUDA 13.0" in torchs
    assert newer_than_the_driver("12.4", {}) == []


def test_the_kernels_reference_in_numpy_is_that_of_the_network():
    for shape in ((1, 5, 1, 1), (2, 3, 9, 7), (1, 4, 2, 11)):
        features, bias = random_case(shape)
        expected = reference(features, bias, torch.float64)
        found = kernel.eigenvalue_maps(features.astype(np.float64), bias.astype(np.float64))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_the_network_in_pytorch_gives_the_references_picture():
    from defian_edge.export.reference import upscale

    network = random_checkpoint(tiny()).network()
    images = noise(1, 9, 12, 3)
    with torch.inference_mode():
        found = Upscaler(network, torch.float32)(torch.from_numpy(images).permute(0, 3, 1, 2))
    steps = np.abs(found.permute(0, 2, 3, 1).numpy().astype(int) - upscale(network, images))
    assert steps.max() <= 1
    assert np.mean(steps > 0) < 1e-2
