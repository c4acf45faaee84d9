"""ONNX Runtime neither writes what it would tell of this machine nor looks for somebody to tell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

WATCHED = """
import sys, time
opened = []
sys.addaudithook(lambda event, args: opened.append(event) if event.startswith("socket.") else None)
{entry}
import onnxruntime
time.sleep(1.5)
assert not opened, opened
"""
ENTRIES = {
    "the runtime": "from defian_edge.runtime.onnx_runtime import import_onnxruntime; import_onnxruntime()",
    "drift": "import defian_edge.calibration.drift.evaluator",
    "calibration": "import defian_edge.export.precision.int8.calibrate",
}


def run(code: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    environment |= {"HOME": str(home), "PYTHONPATH": str(REPOSITORY), **more}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("already", ["", "0"])
def test_nothing_is_written_and_nobody_is_called(tmp_path, entry, already):
    done = run(WATCHED.format(entry=ENTRIES[entry]), tmp_path, ORT_DISABLE_TELEMETRY=already)
    assert done.returncode == 0, done.stderr
    written = [
        str(path) for path in tmp_path.rglob("*") if re.search("onnx|microsoft|deviceid|1ds", str(path), re.IGNORECASE)
    ]
    assert written == []


def test_without_it_onnx_runtime_does_write_so_that_the_test_above_can_fail(tmp_path):
    import onnxruntime

    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 32):
        pytest.skip("telemetry came with ONNX Runtime 1.32")
    assert run("import onnxruntime, time; time.sleep(1.5)", tmp_path).returncode == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()], "nothing written: the variable may be unneeded"


def test_the_tests_themselves_call_nobody():
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_one_file_of_the_product_imports_onnx_runtime():
    rooms = ("runtime", "calibration", "export", "benchmark", "selftest", "models")
    files = [path for room in rooms for path in (REPOSITORY / room).rglob("*.py")]
    found = [
        path.relative_to(REPOSITORY).as_posix()
        for path in files
        if re.search(r"^    import onnxruntime|^import onnxruntime|^from onnxruntime", path.read_text(), re.MULTILINE)
        or ("        import onnxruntime" in path.read_text())
    ]
    assert found == ["runtime/onnx_runtime.py"]
