"""The device path on the stand-in CUDA driver: every file of ``tests/device`` in a process of its own.

The real pycuda runs on a driver in host memory; in one process with TensorRT-RTX that driver would be taken for a GPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, needed
from tests.doubles import standin
from tests.doubles.standin import ToolkitMissingError, build

NEEDS = {"test_selftest_stages": "torch"}
"""What a file needs beside the runtime's packages; ``make matrix`` has no PyTorch."""
FILES = sorted((REPOSITORY / "tests" / "device").glob("test_*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_on_the_stand_in_driver(file: Path, tiny_graph, tmp_path):
    try:
        stand_in = build()
    except ToolkitMissingError as error:
        pytest.skip(str(error))  # in the gate a failure: conftest.py
    if file.stem in NEEDS:
        pytest.importorskip(NEEDS[file.stem])
    graph = tmp_path / "tiny.onnx"
    graph.write_bytes(tiny_graph)
    done = run_alone(file, {**stand_in.environment(), "DEFIAN_GRAPH": str(graph)})
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def run_alone(file: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A file of tests in a process of its own, which in the gate skips no more than this room's tests may."""
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--confcutdir={file.parent}", "-o", "addopts="]
    options += ["-p", "tests.runtime.conftest", "--import-mode=importlib", "--durations=5"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=environment,
    )


@pytest.mark.parametrize("in_the_gate", [False, True])
def test_what_is_skipped_on_the_stand_in_driver_fails_the_gate(tmp_path, without_toolkit, in_the_gate):
    (tmp_path / "test_one.py").write_text(
        "import pytest\n\n@pytest.mark.gpu\ndef test_gpu(): pytest.skip('no GPU')\n\n"
        "def test_other(): pytest.skip('no reason')\n"
    )
    done = run_alone(tmp_path / "test_one.py", without_toolkit | ({"DEFIAN_CI": "1"} if in_the_gate else {}))
    assert ("1 failed, 1 skipped" if in_the_gate else "2 skipped") in done.stdout
    assert done.returncode == in_the_gate


def test_without_a_toolkit_it_is_said_what_will_be_skipped_and_why(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    standin.main()
    assert "will be skipped: gcc and g++ are needed" in capsys.readouterr().out
    monkeypatch.undo()
    needed("gcc")
    needed("g++")
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    standin.main()
    assert "will be skipped: no CUDA toolkit was found" in capsys.readouterr().out


@pytest.fixture
def without_toolkit(tmp_path) -> dict[str, str]:
    """The environment of a machine without the CUDA toolkit, on which nothing has been built before."""
    kept = {name: value for name, value in os.environ.items() if name != "DEFIAN_CI" and "PYTEST" not in name}
    folders = [each for each in os.environ["PATH"].split(os.pathsep) if not Path(each, "nvcc").exists()]
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("gcc", "g++", "git"):
        (tools / name).symlink_to(needed(name))
    changes = {"PATH": os.pathsep.join([str(tools), *folders]), "CUDA_HOME": "/nowhere", "DEFIAN_CACHE": str(tmp_path)}
    return {**kept, **changes}


@pytest.mark.parametrize("in_the_gate", [False, True])
def test_a_machine_without_the_toolkit_passes_and_says_what_it_skipped_and_the_gate_fails(without_toolkit, in_the_gate):
    files = [str(REPOSITORY / "tests" / each) for each in ("device", "runtime/test_on_stand_in.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "on_the_stand_in", *files],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=without_toolkit | ({"DEFIAN_CI": "1"} if in_the_gate else {}),
    )
    reason = "no CUDA toolkit was found: no include/cuda.h below $CUDA_HOME, /nowhere"
    if in_the_gate:
        assert done.returncode == 1, done.stdout
        assert f"DEFIAN_CI is set and this was skipped: Skipped: {reason}" in done.stdout
    else:
        assert done.returncode == 0, done.stdout
        assert f"SKIPPED [{len(FILES)}]" in done.stdout
        assert reason in done.stdout
    assert f"{len(FILES)} {'failed' if in_the_gate else 'skipped'}" in done.stdout


@pytest.mark.parametrize("in_the_gate", [False, True])
def test_the_gate_skips_nothing_but_what_needs_a_gpu(tmp_path, without_toolkit, in_the_gate):
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_one.py").write_text(
        "import pytest\n\n@pytest.mark.gpu\ndef test_gpu(): pytest.skip('no GPU')\n\n"
        "def test_other(): pytest.skip('no reason')\n\ndef test_good(): pass\n"
    )
    (tmp_path / "test_two.py").write_text("import pytest\n\npytest.importorskip('no_such_package')\n")
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", str(REPOSITORY / "pyproject.toml")]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *options,
            f"--rootdir={tmp_path}",
            str(tmp_path),
            "--continue-on-collection-errors",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=without_toolkit | ({"DEFIAN_CI": "1"} if in_the_gate else {}),
    )
    if in_the_gate:
        assert done.returncode == 1
        assert "1 failed, 1 passed, 1 skipped, 1 error" in done.stdout
    else:
        assert done.returncode == 0
        assert "1 passed, 3 skipped" in done.stdout


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
