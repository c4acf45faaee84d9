"""A machine with nothing on it: packages come in pieces, and every stage says what it lacks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from defian_edge.selftest.report import SCHEMA_FILE
from defian_edge.selftest.table import STAGES
from tests.conftest import REPOSITORY, needed
from tests.doubles.standin import ToolkitMissingError, build

PARTS = ("defian_edge", "selftest", "runtime", "tools", "benchmark", "calibration", "export", "models")
UNPACK = REPOSITORY / "tools" / "gpu" / "unpack.sh"


def other_python() -> str:
    """Python 3.12 if there is one, as GPU machines have it; else the one in use."""
    versions = sorted(Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob("versions/3.12*/bin/python3"))
    found = [str(path) for path in versions] + [shutil.which("python3.12") or ""]
    for python in filter(None, found):
        if subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0:
            return python
    return sys.executable


def pieces_of(folder: Path, pieces: Path, name: str) -> list[Path]:
    """A folder as the document says: tar, xz, split; pieces of 1 KiB."""
    needed("xz", "xz-utils")
    (pieces / name).mkdir(parents=True)
    command = f"tar -C {folder} -c . | xz -6 | split -b 1K - {pieces / name / name}.xz."
    subprocess.run([str(shutil.which("bash")), "-c", f"set -o pipefail; {command}"], check=True)
    return sorted((pieces / name).iterdir())


@pytest.fixture
def packages(tmp_path) -> Path:
    """A folder with a package whose content does not compress."""
    folder = tmp_path / "packages"
    (folder / "toy").mkdir(parents=True)
    (folder / "toy" / "__init__.py").write_text(f"NOISE = {os.urandom(4000)!r}\nANSWER = 42\n")
    return folder


def unpack(tmp_path) -> subprocess.CompletedProcess[str]:
    command = [str(UNPACK), str(tmp_path / "pieces"), str(tmp_path / "site")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_travelled_in_pieces_is_a_package_again_for_another_python(tmp_path, packages):
    assert len(pieces_of(packages, tmp_path / "pieces", "toy")) > 2
    done = unpack(tmp_path)
    assert done.returncode == 0, done.stderr
    said = subprocess.run(
        [other_python(), "-c", "import toy; print(toy.ANSWER)"],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": f"{tmp_path}/site-toy"},
    )  # fmt: skip
    assert said.stdout == "42\n"


def test_a_folder_without_pieces_is_an_error(tmp_path):
    assert "there is no folder" in unpack(tmp_path).stderr
    (tmp_path / "pieces").mkdir()
    done = unpack(tmp_path)
    assert done.returncode == 2
    assert "holds neither" in done.stderr


@pytest.mark.parametrize("missing", [0, -1])
def test_a_missing_piece_is_an_error_and_no_half_package_goes_unnoticed(tmp_path, packages, missing):
    pieces_of(packages, tmp_path / "pieces", "toy")[missing].unlink()
    assert unpack(tmp_path).returncode != 0


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The repository's files in an empty folder, as they travel."""
    listed = subprocess.run(
        [str(shutil.which("git")), "ls-files", "-co", "--exclude-standard", *PARTS],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        target = tmp_path / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, target)
    return tmp_path / "checkout"


def run(python: str, folder: Path, environment: dict[str, str], *arguments: str) -> tuple[int, dict, str]:
    """Exit status, the report, and what was printed."""
    done = subprocess.run(
        [python, "-m", "selftest", "--out", "out", *arguments],
        capture_output=True, text=True, check=False, cwd=folder, env=environment,
    )  # fmt: skip
    [path] = (folder / "out").glob("*.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, report, done.stdout


def test_a_python_without_any_package_says_for_every_stage_what_is_missing(checkout, tmp_path):
    subprocess.run([other_python(), "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    status, report, said = run(str(tmp_path / "env" / "bin" / "python"), checkout, kept)
    assert status == 0, said
    assert [stage["name"] for stage in report["stages"]] == [stage.name for stage in STAGES]
    assert all(stage["status"] == "skipped" and stage["reason"] for stage in report["stages"]), said
    assert report["finished"]


@pytest.mark.slowest
def test_without_a_gpu_every_stage_is_entered_and_says_what_it_lacks(tmp_path):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(REPOSITORY)}
    status, report, said = run(sys.executable, tmp_path, environment, "--budget", "600")
    reasons = {stage["name"]: stage["reason"] for stage in report["stages"]}
    assert status == 0, said
    assert list(reasons) == [stage.name for stage in STAGES]
    assert {stage["status"] for stage in report["stages"]} == {"skipped"}, said
    assert "CUDA driver" in reasons["environment"]
    assert "This PyTorch finds no GPU." in reasons["pytorch"]
    assert "has no CUDA provider" in reasons["onnx-cuda"]
    assert "--train-pictures" in reasons["training"]
    assert report["machine"]["packages"]["numpy"]


def test_on_the_stand_in_driver_the_card_is_described_and_a_kernel_that_cannot_run_fails(tmp_path):
    try:
        stand_in = build()
    except ToolkitMissingError as error:
        pytest.skip(str(error))
    environment = stand_in.environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment["PYTHONPATH"]])
    names = ("environment", "kernel", "rtx-target", "frames", "soak", "sanitizer")
    chosen = [part for name in names for part in ("--stage", name)]
    status, report, said = run(sys.executable, tmp_path, environment, *chosen)
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert report["machine"]["card"]["name"] == "stand-in GPU"
    assert report["machine"]["card"]["capability"] == "8.9"
    assert stages["environment"]["reason"] == "This CUDA driver does not support cuMemcpyDtoDAsync."
    assert "CUDA_ERROR_NOT_SUPPORTED" in stages["kernel"]["reason"]
    assert status == 1, said
    failed = {name for name, stage in stages.items() if stage["status"] == "failed"}
    assert failed == {"kernel"}
