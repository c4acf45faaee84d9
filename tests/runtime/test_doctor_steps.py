"""Steps in a child process: what each came to, and the name of the one that ended it."""

from __future__ import annotations

import sys

import pytest

from defian_edge.runtime.doctor import steps
from defian_edge.runtime.doctor.findings import Level
from defian_edge.runtime.doctor.run import smoke_lines
from defian_edge.runtime.doctor.steps import CRASHED, DONE, FAILED, SKIPPED, Step, run_steps

WORK = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from defian_edge.runtime.doctor.steps import Skipped, carry_out_steps, leave
from defian_edge.runtime.errors import DefianError, MissingPackageError

def good(): print("a library talks", end=""); return [1, 2]
def skipped(): raise Skipped("nothing to do")
def missing(): raise MissingPackageError("pycuda", "device", "This")
def refused(): raise DefianError("expected one, found two", "pip install one")
def broken(): raise KeyError("gone")
def leaves(): sys.exit(3)
def dies(): print("last words", file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGSEGV)
def hangs(): time.sleep(60)
def ends(): os._exit(7)

after, *names = sys.argv[1:]
carry_out_steps([(name, globals()[name.rstrip("0123456789")]) for name in names], after)
leave()
"""


@pytest.fixture
def child(monkeypatch):
    """Runs steps of ``WORK`` by their names."""
    root = str(steps.Path(__file__).resolve().parents[2])
    monkeypatch.setattr(steps, "_start", lambda _: WORK.format(root=root))
    return lambda *names, seconds=30.0: run_steps("anything", names, seconds)


def test_each_step_says_what_became_of_it_and_the_next_one_is_tried(child):
    found = child("good", "skipped", "missing", "refused", "broken", "leaves", "good2")
    assert [each.status for each in found] == [DONE, SKIPPED, SKIPPED, FAILED, FAILED, FAILED, DONE]
    assert found[0].value == [1, 2]
    assert found[2].cure == "Install it with: pip install 'defian-edge[device]'"
    assert (found[3].reason, found[3].cure) == ("expected one, found two", "pip install one")
    assert found[4].reason == "KeyError: 'gone'"


def test_a_crash_has_the_name_of_the_step_its_signal_and_its_last_words(child):
    first, crash = child("good", "dies")
    assert first.status == DONE
    assert (crash.name, crash.status) == ("dies", CRASHED)
    assert crash.reason == "the process was ended by SIGSEGV; its last words: last words"


def test_what_comes_after_a_crash_is_done_in_another_process(child):
    found = child("dies", "good", "ends", "dies2", "good2")
    assert [(each.name, each.status) for each in found] == [
        ("dies", CRASHED),
        ("good", DONE),
        ("ends", CRASHED),
        ("dies2", CRASHED),
        ("good2", DONE),
    ]


def test_a_child_that_dies_before_its_first_step_is_tried_once(monkeypatch):
    monkeypatch.setattr(steps, "_start", lambda _: "import sys; sys.exit('no such library')")
    [step] = run_steps("anything", (), 30.0)
    assert (step.name, step.status) == ("start", CRASHED)
    assert step.reason == "the process ended with status 1; its last words: no such library"


def test_a_process_that_hangs_or_ends_is_told_with_what_came_before(child):
    first, late = child("good", "hangs", seconds=8.0)
    assert (first.status, late.name, late.status) == (DONE, "hangs", CRASHED)
    assert "did not end within 8 s" in late.reason
    [ended] = child("ends")
    assert "ended with status 7" in ended.reason


def test_an_interpreter_that_does_not_start_is_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    [step] = run_steps("probe", (), 5.0)
    assert (step.status, step.reason) == (CRASHED, "/nowhere/python does not start: No such file or directory")


def test_a_crash_is_a_red_line_with_a_cure_and_what_was_not_tried_is_one_line():
    lines = smoke_lines(
        [
            Step("onnxruntime", DONE, "right"),
            Step("driver", SKIPPED, reason="There is no driver."),
            Step("pycuda", SKIPPED, reason="there is no driver"),
            Step("kernel", CRASHED, reason="the process was ended by SIGSEGV"),
            Step("engine", FAILED, reason="expected one", cure="python export.py"),
        ]
    )
    assert [line.level for line in lines] == [Level.GREEN, Level.RED, Level.RED, Level.GREEN]
    assert lines[1].findings[0].text == "the process was ended by SIGSEGV"
    assert lines[1].findings[0].cure == "python -m runtime doctor --no-smoke"
    assert lines[2].findings[0].cure == "python export.py"
    assert lines[3].text == "not tried: driver, pycuda; there is no driver"
