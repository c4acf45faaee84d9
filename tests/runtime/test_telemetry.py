"""ONNX Runtime neither writes what it would tell of this machine nor looks for somebody to tell."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

# ONNX Runtime 1.32 writes its files at once and calls its host nine seconds after its import.
WATCHED = """
import os, time
{entry}
import onnxruntime
end = time.monotonic() + {seconds}
while time.monotonic() < end and not os.path.exists(os.environ["LOOKUPS_FILE"]):
    time.sleep(0.1)
"""
ENTRIES = {
    "the runtime": "from defian_edge.runtime.onnx_runtime import import_onnxruntime; import_onnxruntime()",
    "drift": "import defian_edge.calibration.drift.evaluator",
    "calibration": "import defian_edge.export.precision.int8.calibrate",
}


@pytest.fixture(scope="module")
def spy(tmp_path_factory):
    """A library that writes down what the C and C++ code of a process looks up and connects to."""
    compiler = shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        if os.environ.get("DEFIAN_CI"):
            pytest.fail("gcc is needed")
        pytest.skip("gcc and Linux are needed to watch what a process looks up")
    library = tmp_path_factory.mktemp("spy") / "lookups.so"
    source = REPOSITORY / "tests" / "doubles" / "lookups.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def start(entry: str, seconds: float, spy: Path, home: Path, **more: str) -> subprocess.Popen[str]:
    """A process with nothing in its environment that may silence ONNX Runtime, as the variables of CI services do."""
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
    environment |= {"LD_PRELOAD": str(spy), "LOOKUPS_FILE": str(home / "looked-up"), **more}
    code = WATCHED.format(entry=entry, seconds=seconds)
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)


def told(home: Path) -> list[str]:
    """What the process wrote for or said to others, by the names of its files."""
    telling = re.compile("onnx|microsoft|deviceid|1ds|looked-up", re.IGNORECASE)
    return [
        path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file() and telling.search(path.name)
    ]


def test_nothing_is_written_and_nobody_is_called(tmp_path, spy):
    entries = [entry for entry in ENTRIES if entry != "calibration" or importlib.util.find_spec("torch")]
    homes = {(entry, already): tmp_path / f"{entry}{already}" for entry in entries for already in ("", "0")}
    running = {key: start(ENTRIES[key[0]], 12, spy, home, ORT_DISABLE_TELEMETRY=key[1]) for key, home in homes.items()}
    for key, process in running.items():
        assert process.wait(timeout=300) == 0, (key, process.stderr and process.stderr.read())
        assert told(homes[key]) == [], key


def test_without_it_onnx_runtime_writes_and_calls_so_that_the_test_above_can_fail(tmp_path, spy):
    import onnxruntime

    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 32):
        pytest.skip("telemetry came with ONNX Runtime 1.32")
    assert start("", 60, spy, tmp_path / "home").wait(timeout=300) == 0
    found = told(tmp_path / "home")
    assert "looked-up" in found, "no host was looked up: the variable may be unneeded"
    assert any("onnxruntime" in name or "deviceid" in name for name in found), "nothing written"


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
