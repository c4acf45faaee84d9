"""What a fresh machine lacks is named in one line: by ``tools/needs.py``, and by ``make`` before it makes anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import REPOSITORY, needed
from tools.needs import FOR_TESTS, NEWEST, OLDEST, main, obstacles, skipped

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What ``make env`` reads before it installs anything."""
    folder = tmp_path / "check out"
    (folder / "tools").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "setup.py", "tools/__init__.py", "tools/needs.py"):
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """``make`` in a folder."""
    program = shutil.which("make") or pytest.skip("make is not here: apt-get install make")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHONPATH"))}
    command = [program, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=kept | variables, timeout=60
    )


def test_this_python_can_make_an_environment():
    assert obstacles() == []
    assert main([]) == 0


def test_the_pythons_are_those_of_pyproject():
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    promised = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', text)
    assert promised is not None
    assert [int(each) for each in promised.groups()] == [OLDEST[1], NEWEST[1] + 1]


@pytest.mark.parametrize("version", [(3, 9), (3, 14)])
def test_a_python_that_is_not_promised_is_named_with_a_way_out(version):
    [line] = obstacles(version)
    assert line.startswith(f"Expected Python 3.10 to 3.13, found Python 3.{version[1]} (")
    assert "make PYTHON=" in line


@pytest.fixture
def without_ensurepip(tmp_path) -> dict[str, str]:
    """Debian's Python as it comes: it has venv and no ensurepip."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    return {"PYTHONPATH": str(tmp_path)}


def test_make_names_debians_package_in_one_line_and_makes_nothing(checkout, without_ensurepip):
    before = sorted(checkout.rglob("*.*"))
    done = make(checkout, "demo", f"PYTHON={sys.executable}", PYTHONDONTWRITEBYTECODE="1", **without_ensurepip)
    assert done.returncode == 2
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    said = done.stderr.splitlines()
    assert (
        said[0] == f"error: Python {version} ({sys.executable}) has no ensurepip: apt-get install python{version}-venv"
    )
    assert len(said) == 2, "the other line is make's own"
    assert done.stdout == ""
    assert sorted(checkout.rglob("*.*")) == before


def test_make_without_a_python_says_so_in_one_line(checkout):
    done = make(checkout, "test", "PYTHON=no-such-python")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: there is no no-such-python: apt-get install python3-venv"


def test_an_environment_that_was_left_without_pip_is_made_again(checkout, tmp_path):
    """``python3 -m venv`` without ensurepip fails and leaves a Python behind."""
    (checkout / ".venv/bin").mkdir(parents=True)
    broken, double = checkout / ".venv/bin/python", tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n")
    double.write_text(f'#!/bin/sh\necho "$*" >> "{tmp_path}/told"\n[ "$2" != venv ]\n')
    for program in (broken, double):
        program.chmod(0o755)
    assert make(checkout, "env", f"PYTHON={double}").returncode == 2
    assert (tmp_path / "told").read_text().splitlines() == ["-m tools.needs", "-m venv .venv"]


def test_programs_without_which_tests_skip_are_named_with_their_packages(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--tests"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == skipped()
    assert [line.split(" is not here: ")[0] for line in lines] == [each.names[0] for each in FOR_TESTS]
    assert all(f"(apt-get install {each.package})" in line for each, line in zip(FOR_TESTS, lines, strict=True))
    (tmp_path / "google-chrome").symlink_to(sys.executable)
    assert not any("chromium" in line for line in skipped())


def test_a_test_without_its_program_skips_with_the_package_and_fails_in_the_gate(monkeypatch, tmp_path):
    assert needed("sh")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DEFIAN_CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="xz is not here: apt-get install xz-utils"):
        needed("xz", "xz-utils")
    monkeypatch.setenv("DEFIAN_CI", "1")
    with pytest.raises(pytest.fail.Exception, match=re.escape("g++ is not here: apt-get install g++")):
        needed("g++")


def test_every_program_that_tests_need_is_named():
    """Gcc comes with g++, and a shell with every Debian."""
    known = {name for each in FOR_TESTS for name in each.names} | {"gcc", "sh"}
    tests = (REPOSITORY / "tests").rglob("*.py")
    asked = {name for path in tests for name in re.findall(r'needed\("([^"]+)"', path.read_text(encoding="utf-8"))}
    assert {"g++", "xz", "systemd-analyze"} <= asked <= known


def test_it_runs_on_the_standard_library_alone():
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(REPOSITORY / "tools" / "needs.py"), "--tests"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(FOR_TESTS)
