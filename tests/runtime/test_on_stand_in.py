"""The device path on the stand-in CUDA driver: every file of ``tests/device`` in a process of its own.

The real pycuda runs on a driver in host memory; in one process with TensorRT-RTX that driver would be taken for a GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx_ir as ir
import pytest

from tests.conftest import REPOSITORY, random_checkpoint, tiny
from tests.doubles import standin
from tests.doubles.standin import ToolkitMissingError, build

STRICT = "DEFIAN_CI" in os.environ
"""Set by the gate: there, what cannot be built is a failure and no reason to skip."""
FILES = sorted((REPOSITORY / "tests" / "device").glob("test_*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_on_the_stand_in_driver(file: Path, traced, tmp_path):
    try:
        stand_in = build()
    except ToolkitMissingError as error:
        if STRICT:
            raise
        pytest.skip(str(error))
    graph = tmp_path / "tiny.onnx"
    ir.save(traced(random_checkpoint(tiny())), graph)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--confcutdir={file.parent}", "-o", "addopts="]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--import-mode=importlib", "--durations=5", str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**stand_in.environment(), "DEFIAN_GRAPH": str(graph)},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_a_toolkit_it_is_said_what_will_be_skipped_and_why(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    standin.main()
    assert "will be skipped: gcc and g++ are needed" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    standin.main()
    assert "will be skipped: no CUDA toolkit was found" in capsys.readouterr().out


def test_the_tests_on_the_stand_in_are_collected_nowhere_else():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", f"--confcutdir={FILES[0].parent}", FILES[0].parent],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert len(FILES) >= 5
    assert "no tests collected" in done.stdout
