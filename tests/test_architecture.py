"""docs/architecture.md names the rooms that there are, in the order in which they may import each other."""

from __future__ import annotations

import re
import sys

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
PROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def listed(name: str) -> list[str]:
    """A list of strings in pyproject.toml, by the name of its key."""
    found = re.search(rf"^{name} = \[(.*?)\]", PROJECT, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return re.findall(r'"([\w.]+)"', found[1])


def test_the_layers_of_the_page_are_those_of_the_contract():
    [chain] = re.findall(r"^(tools -> .*)$", PAGE, re.MULTILINE)
    assert chain.split(" -> ") == listed("layers")


def test_every_room_of_the_contracts_has_a_row_and_no_other():
    rooms = re.findall(r"^\| `(\w+)/` \|", PAGE, re.MULTILINE)
    assert sorted(rooms) == sorted(listed("root_packages"))
    assert all((REPOSITORY / room / "__init__.py").is_file() for room in rooms)


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
