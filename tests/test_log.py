"""The library logs under its files' names and prints nothing; a command's ``--verbose`` shows what it logs."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from defian_edge.runtime import log
from tests.conftest import REPOSITORY
from tools.link_rooms import ROOMS

if TYPE_CHECKING:
    from pathlib import Path

SPEAKERS = {
    "benchmark/command.py",
    "benchmark/measure/memory.py",  # the child process, whose standard output is its answer
    "benchmark/report/plain.py",
    "defian_edge/__main__.py",
    "export/command.py",
    "export/plugin/__main__.py",
    "export/summary.py",
    "runtime/cluster/run.py",
    "runtime/command.py",
    "runtime/doctor/command.py",
    "runtime/doctor/steps.py",  # the child process, whose standard output is its answer
    "runtime/entry.py",
    "runtime/log.py",
    "runtime/progress.py",
    "runtime/verify/command.py",
    "selftest/command.py",
    "selftest/failures.py",  # part of a pytest process that the command starts
    "selftest/page.py",
    "selftest/stages/gpu_tests.py",
    "selftest/stages/sanitizer.py",
}
"""The commands, and what only they use."""
FILES = sorted(path for room in (*ROOMS, "defian_edge") for path in (REPOSITORY / room).rglob("*.py"))
LOGGING = {"runtime", "models", "calibration", "export", "benchmark"}


def named(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def calls_in(path: Path) -> list[ast.expr]:
    """What a file calls."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node.func for node in nodes if isinstance(node, ast.Call)]


def prints(path: Path) -> bool:
    """Whether a file calls ``print`` or writes to a standard stream."""
    for called in calls_in(path):
        if isinstance(called, ast.Name) and called.id == "print":
            return True
        if isinstance(called, ast.Attribute) and ast.unparse(called) in {"sys.stdout.write", "sys.stderr.write"}:
            return True
    return False


def test_only_commands_print():
    assert {named(path) for path in FILES if prints(path)} == SPEAKERS


def test_each_room_logs_under_the_names_of_its_files_and_nothing_above_info():
    logging_rooms = set()
    for path in FILES:
        for called in calls_in(path):
            text = ast.unparse(called)
            if text == "logging.getLogger":
                logging_rooms.add(named(path).partition("/")[0])
            # Without a handler Python prints what is a warning or worse by itself.
            assert text.partition(".")[0] != "LOGGER" or text in {"LOGGER.info", "LOGGER.debug"}, f"{path}: {text}"
    assert logging_rooms >= LOGGING
    loggers = [line for path in FILES for line in path.read_text("utf-8").splitlines() if line.startswith("LOGGER = ")]
    assert set(loggers) == {"LOGGER = logging.getLogger(__name__)"}


def test_verbose_shows_each_line_once_with_its_file_and_nothing_that_moves_a_cursor(capsys, monkeypatch):
    root = logging.getLogger(log.ROOT)
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    log.show_log()
    log.show_log()
    logging.getLogger(f"{log.ROOT}.runtime.session").info("opening %s", "a\x1b[2Jb")
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    assert line.endswith("s  defian_edge.runtime.session: opening a\\x1b[2Jb")


@pytest.mark.parametrize("verbose", [True, False])
def test_a_command_says_what_it_does_only_if_it_is_asked(tmp_path, verbose):
    missing = tmp_path / "missing.onnx"
    missing.write_bytes(b"no graph")
    command = [sys.executable, "-m", "runtime", str(missing), "--engine", str(missing), "--out", str(tmp_path / "sr")]
    done = subprocess.run(
        [*command, *(["--verbose"] if verbose else [])], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert ("runtime.session: opening" in done.stderr) == verbose
