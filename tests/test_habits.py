"""What is done the same way everywhere: one lint, versions, names that go, Pythons that are promised."""

from __future__ import annotations

import ast
import re
import sys
from types import ModuleType

import pytest

from defian_edge.runtime import __version__, deprecated
from defian_edge.runtime.tiling import Tiling
from tests.conftest import REPOSITORY
from tools import matrix
from tools.link_rooms import ROOMS

MINOR = tuple(map(int, __version__.split(".")[:2]))


def test_pre_commit_runs_what_make_lint_runs_in_its_order():
    recipe = re.search(r"^lint: env\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    of_make = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text()
    entries = re.findall(r"^ +entry: (.*)$", hooks, re.MULTILINE)
    of_hooks = [re.sub(r"^bash -c '(.*)'$", r"\1", entry) for entry in entries]
    assert of_hooks == of_make
    assert len(of_make) >= 5
    assert hooks.count("pass_filenames: false") == hooks.count("language: system") == len(entries)


def test_every_shell_script_is_linted():
    of_make = re.search(r"^\t\$\(BIN\)/shellcheck (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert of_make is not None
    rooms = (
        "docs",
        "examples",
        "export",
        "models",
        "runtime",
        "selftest",
        "tools",
        "tests",
        "benchmark",
        "calibration",
    )
    scripts = (str(path.relative_to(REPOSITORY)) for room in rooms for path in (REPOSITORY / room).rglob("*.sh"))
    assert of_make[1].split() == sorted([".ci/run", *scripts])


def test_the_changelog_begins_with_this_version_and_has_each_once():
    headings = re.findall(r"^## (\S+?),?(?: .*)?$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == __version__
    assert len(set(headings)) == len(headings)
    numbers = [tuple(map(int, heading.split("."))) for heading in headings]
    assert numbers == sorted(numbers, reverse=True)


def last_versions() -> dict[str, tuple[int, ...]]:
    """Where something is deprecated, and the last minor version in which it lives."""
    found = {}
    for path in (path for room in (*ROOMS, "defian_edge", "tools") for path in (REPOSITORY / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Deprecated"):
                last = next(word.value for word in node.keywords if word.arg == "last")
                assert isinstance(last, ast.Constant), "the last version has to be written where it can be read"
                found[f"{path}:{node.lineno}"] = tuple(map(int, str(last.value).split(".")))
    return found


def test_no_deprecated_name_outlives_its_version():
    overdue = [place for place, last in last_versions().items() if last < MINOR]
    assert overdue == [], "their time is over: remove them, and say so in CHANGELOG.md"


def test_a_name_that_is_overdue_would_be_found(monkeypatch):
    source = 'OLD = {"a": deprecated.Deprecated("defian_edge.runtime.tiling", "Tiling", last="0.1")}'
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: source)
    assert set(last_versions().values()) == {(0, 1)}
    assert MINOR > (0, 1)


def test_an_old_name_gives_the_thing_and_warns_at_the_line_that_asked():
    module = ModuleType("defian_edge.runtime.old")
    moved = {"Cutting": deprecated.Deprecated("defian_edge.runtime.tiling", "Tiling", last="0.2")}
    vars(module)["__getattr__"] = deprecated.renamed(module.__name__, moved)
    with pytest.warns(
        DeprecationWarning, match=r"defian_edge\.runtime\.tiling\.Tiling now.*after version 0\.2"
    ) as told:
        assert module.Cutting is Tiling
    assert told[0].filename == __file__
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        _ = module.Other


def test_the_matrix_has_every_python_that_is_promised_and_finds_the_newest_that_starts(tmp_path, monkeypatch):
    assert matrix.promised() == ["3.10", "3.11", "3.12", "3.13"]
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    here = "{}.{}".format(*sys.version_info[:2])
    places = [tmp_path / "versions" / f"{here}.{patch}" / "bin" / "python" for patch in (2, 10, 9)]
    for place in places:
        place.parent.mkdir(parents=True)
        place.symlink_to(sys.executable)
    assert matrix.find_python(here) == places[1]
    places[1].unlink()
    places[1].symlink_to("/bin/false")
    assert matrix.find_python(here) == places[2]
    assert matrix.find_python("3.99") is None


def test_a_python_that_fails_or_is_missing_decides_the_status(monkeypatch, capsys):
    monkeypatch.setattr(matrix, "made_graph", lambda: REPOSITORY)
    monkeypatch.setattr(matrix, "find_python", lambda version: None if version == "3.10" else REPOSITORY)
    monkeypatch.setattr(matrix, "tested", lambda version, *_: "failed: 1 failed" if version == "3.12" else "9 passed")
    assert matrix.main(["3.10", "3.11"]) == 0
    assert capsys.readouterr().out.splitlines() == ["Python 3.10: not found", "Python 3.11: 9 passed"]
    assert matrix.main(["3.11", "3.12"]) == 1
    assert matrix.main(["3.10"]) == 2
