"""The device path on the stand-in CUDA driver: every file of ``tests/device`` in a process of its own.

The real pycuda runs on a driver in host memory; in one process with TensorRT-RTX that driver would be taken for a GPU.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import onnx_ir as ir
import pytest

from tests.conftest import REPOSITORY, random_checkpoint, tiny
from tests.doubles.standin import ToolkitMissingError, build

if TYPE_CHECKING:
    from pathlib import Path

FILES = sorted((REPOSITORY / "tests" / "device").glob("test_*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_on_the_stand_in_driver(file: Path, traced, tmp_path):
    try:
        stand_in = build()
    except ToolkitMissingError as error:
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
