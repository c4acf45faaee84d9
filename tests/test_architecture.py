"""docs/architecture.md names the rooms that there are, in the order in which they may import each other."""

from __future__ import annotations

import ast
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import REPOSITORY
from tools.link_rooms import ROOMS

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
PROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def listed(name: str) -> list[str]:
    """A list of strings in pyproject.toml, by the name of its key."""
    found = re.search(rf"^{name} = \[(.*?)\]", PROJECT, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return re.findall(r'"([\w.]+)"', found[1])


def test_the_layers_of_the_page_are_those_of_the_contract():
    [chain] = re.findall(r"^(tools -> .*)$", PAGE, re.MULTILINE)
    assert chain.split(" -> ") == [name.removeprefix("defian_edge.") for name in listed("layers")]


def test_every_room_that_is_packaged_has_a_row_and_no_other():
    rooms = re.findall(r"^\| `(\w+)/` \|", PAGE, re.MULTILINE)
    assert sorted(rooms) == sorted(["defian_edge", "tools", *ROOMS])
    assert all((REPOSITORY / room / "__init__.py").is_file() for room in rooms)


def imports_of(path: Path) -> list[tuple[int, str]]:
    """The dots before the name, and the name, of every module that a file imports."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
    return found


def test_rooms_are_imported_below_the_one_name_alone():
    paths = [path for room in (*ROOMS, "defian_edge", "tools", "tests") for path in (REPOSITORY / room).rglob("*.py")]
    assert len(paths) > 300
    bare = [(path, name) for path in paths for dots, name in imports_of(path) if not dots and bare_room(name)]
    assert bare == []
    # The package's own table of public names says where each is below the package.
    read = [path for path in paths if path != REPOSITORY / "defian_edge" / "__init__.py"]
    named = [(path, text) for path in read for text in strings_of(path) if bare_room(text) and MODULE.fullmatch(text)]
    assert named == []


MODULE = re.compile(r"\w+\.(?!(?:json|md|onnx|py)$)[\w.:]*")
"""A module's name, by which something may be imported, or its part before what an f-string fills in; no file's."""


def strings_of(path: Path) -> list[str]:
    """Every string that a file holds; of an f-string the parts that are written out."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_the_runtime_imports_itself_relatively_so_that_it_runs_under_either_name():
    paths = sorted((REPOSITORY / "runtime").rglob("*.py"))
    for path in paths:
        deepest = len(path.relative_to(REPOSITORY).parts) - 1
        for dots, name in imports_of(path):
            assert dots <= deepest, f"{path} leaves runtime/"
            assert dots or name.partition(".")[0] != "defian_edge", f"{path} imports {name}"


def bare_room(module: str) -> bool:
    """Whether a module would be one of ours under the room's name alone."""
    return module.partition(".")[0] in ROOMS


def test_every_room_of_export_is_named():
    rooms = {path.parent.name for path in (REPOSITORY / "export").glob("*/__init__.py")}
    assert {room for room in rooms if f"\n  {room}/" not in PAGE} == set()


def test_every_file_that_the_page_names_exists():
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", PAGE)
    assert len(named) > 8
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib comes with Python 3.11")
def test_the_project_file_is_read_as_toml_reads_it():
    import tomllib

    contracts = tomllib.loads(PROJECT)["tool"]["importlinter"]
    assert contracts["root_packages"] == listed("root_packages")
    assert contracts["contracts"][0]["layers"] == listed("layers")
