"""docs/doctor.md has every rule with its source, and a page as the command prints it; its commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from defian_edge.runtime.doctor.diagnosis import Diagnosis
from defian_edge.runtime.doctor.rules import RULES
from defian_edge.runtime.doctor.run import lines_of
from tests.conftest import REPOSITORY
from tests.doubles.doctor_facts import JETSON, packages

PAGE = (REPOSITORY / "docs" / "doctor.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if " doctor" in line
]


def rule_rows() -> list[str]:
    """The table's rows, from the rules themselves."""
    return [f"| `{rule.name}` | {(rule.check.__doc__ or '').strip()} | {rule.source} |" for rule in RULES]


def slow_jetson() -> str:
    """The page of a made-up Jetson on which three things are wrong."""
    assert JETSON.jetson is not None
    facts = replace(
        JETSON,
        jetson=replace(JETSON.jetson, mode=("7W", 3)),
        packages=JETSON.packages | packages(cuda_bindings=("13.5.0", 13)),
        gpus=(replace(JETSON.gpus[0], free=700 << 20),),
    )
    return str(Diagnosis(tuple(lines_of(facts)), facts, 0.6))


def test_the_table_has_every_rule_with_what_it_wants_and_its_source():
    found = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert [line for line in found if line in set(rule_rows())] == rule_rows()


def test_the_page_that_is_shown_is_what_the_command_prints():
    assert slow_jetson() in PAGE


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(tmp_path, command):
    """Status 1 is an answer, too: another machine may have something red."""
    words = shlex.split(command.partition("  #")[0])
    words = [sys.executable, *(str(tmp_path / word) if word.endswith(".json") else word for word in words[1:])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode in (0, 1), done.stderr
    assert "green" in done.stdout
