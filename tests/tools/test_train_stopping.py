"""What ends early: a signal at any moment, a kill, a compiler that fails or does not come to an end."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from defian_edge.models.checkpoint import load_checkpoint
from tests.conftest import REPOSITORY
from tests.tools.conftest import run, state_in
from tools.train import device as device_module
from tools.train import limits as limits_module
from tools.train.command import main
from tools.train.limits import TimeIsUpError, time_limit
from tools.train.network import Regions
from tools.train.stopping import StoppedError, stop_on_signals

if TYPE_CHECKING:
    from pathlib import Path

SLEEP = shutil.which("sleep") or "sleep"


def wait_for(path: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3)


def test_a_killed_training_resumes_from_its_last_checkpoint(options):
    process = started(options, None, "--save-seconds", "0.01")
    try:
        wait_for(options.out / "last.train.pt", process)
    finally:
        process.kill()
        process.communicate()
    saved = torch.load(options.out / "last.train.pt", weights_only=True)
    assert saved["step"] > 0
    load_checkpoint(options.out / "defian-16x1x1-x2.safetensors")
    again = replace(options, resume=True, rate=5e-4, warm_up=200, steps=saved["step"] + 2)
    assert run(again)["steps"] == saved["step"] + 2


def test_signals_end_at_once_before_training_and_then_ask_once_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as asked:
        with pytest.raises(StoppedError) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.status == 143
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
        with pytest.raises(StoppedError, match="stopped by SIGINT"):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.set_wakeup_fd(-1) == -1


def replace_compiler(monkeypatch, regions_of) -> None:
    monkeypatch.setattr(device_module, "Regions", SimpleNamespace(of=regions_of))
    monkeypatch.setattr(device_module, "import_module", lambda _: None)  # loading it takes seconds


def test_what_cannot_be_compiled_runs_uncompiled_and_says_so(options, monkeypatch):
    def broken(level: int) -> Regions:
        plain = Regions.of(0)

        def fail(*_):
            raise RuntimeError("no compiler")

        return plain if level == 0 else replace(plain, block=fail)

    replace_compiler(monkeypatch, broken)
    said: list[str] = []
    summary = run(replace(options, compiled=True, steps=2), said=said)
    assert summary["steps"] == 2
    assert len(summary["remarks"]) == 2
    assert any("WARNING: torch.compile failed" in line and "no compiler" in line for line in said)
    plain = replace(options, out=options.out.parent / "plain", steps=2)
    run(plain)
    assert torch.equal(state_in(options.out)["master"], state_in(plain.out)["master"])


def sleeping(level: int) -> Regions:
    """A compiler that does not come to an end, above level 0."""
    plain = Regions.of(0)
    return plain if level == 0 else replace(plain, block=lambda *_: time.sleep(60))


def test_what_takes_too_long_to_compile_runs_uncompiled_and_says_so(options, monkeypatch):
    replace_compiler(monkeypatch, sleeping)
    said: list[str] = []
    begun = time.monotonic()
    summary = run(replace(options, compiled=True, compile_seconds=0.2, steps=2), said=said)
    assert time.monotonic() - begun < 10
    assert summary["steps"] == 2
    assert [remark.split(": ")[-1] for remark in summary["remarks"]] == ["not done after 0.2 s"] * 2
    assert sum("WARNING: torch.compile failed" in line for line in said) == 2
    plain = replace(options, out=options.out.parent / "plain", steps=2)
    run(plain)
    assert torch.equal(state_in(options.out)["master"], state_in(plain.out)["master"])


def test_compiling_takes_no_more_than_a_quarter_of_the_minutes(options, monkeypatch):
    replace_compiler(monkeypatch, sleeping)
    summary = run(replace(options, compiled=True, steps=None, minutes=0.06))
    allowed = re.search(r"not done after ([\d.]+) s$", summary["remarks"][0])
    assert allowed is not None
    assert float(allowed[1]) <= 0.25 * 3.6
    assert summary["remarks"][1].endswith("no time is left for it")
    assert summary["steps"] > 2


def test_time_that_is_up_ends_the_work_and_the_processes_it_started():
    before, begun = signal.getsignal(signal.SIGALRM), []

    def work() -> None:
        begun.append(subprocess.Popen([SLEEP, "60"]))
        time.sleep(60)

    other = subprocess.Popen([SLEEP, "60"])
    with pytest.raises(TimeIsUpError, match=r"not done after 0\.2 s"), time_limit(0.2):
        work()
    assert begun[0].wait(5) == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_alarm_rings_again_where_somebody_kept_it(monkeypatch):
    monkeypatch.setattr(limits_module, "AGAIN", 0.1)
    kept = []

    def careless() -> None:
        try:
            time.sleep(60)
        except BaseException as error:
            kept.append(error)
        time.sleep(60)

    with pytest.raises(TimeIsUpError), time_limit(0.1):
        careless()
    assert len(kept) == 1


def test_what_is_done_in_time_goes_on_undisturbed():
    for seconds in (None, 0.05):
        with time_limit(seconds):
            pass
    time.sleep(0.1)
    done = []

    def elsewhere() -> None:
        with time_limit(0.0):  # only the main thread can be broken off
            done.append(1)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert done == [1]


STAND_INS = {
    # The signal goes to another thread, and this one is in C: no handler of Python's gets to run.
    "in c": "signal.pthread_sigmask(signal.SIG_BLOCK, [2, 15]), ctypes.CDLL(None).sleep(60)",
    "with a worker": "subprocess.run(['sleep', '60'])",
}


def arguments_of(options) -> list[str]:
    words = shlex.split("--scale 2 --size 16x1x1 --steps 100000 --batch 2 --patch 12 --device cpu --precision fp32")
    return [*words, "--pictures", str(options.pictures), "--out", str(options.out)]


def started(options, stand_in: str | None, *words: str) -> subprocess.Popen:
    """The real command; preparing is replaced, except where there is no stand-in."""
    code = "from tools.train import stopping\nfrom tools.train.command import main\nstopping.PATIENCE = 0.5"
    if stand_in is not None:
        code += "\nimport ctypes, signal, subprocess, sys, time\nfrom tools.train.device import Runner"
        code += f"\ndef prepare(*_):\n    print('PREPARING', file=sys.stderr, flush=True)\n    {stand_in}"
        code += "\nRunner.prepare = prepare"
    line = [sys.executable, "-c", f"{code}\nmain()", *arguments_of(options), *words]
    return subprocess.Popen(line, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("stand_in", "number"),
    [("in c", signal.SIGINT), ("with a worker", signal.SIGTERM)],
)
def test_a_signal_before_the_first_step_ends_the_process_at_once(options, stand_in, number):
    process = started(options, STAND_INS[stand_in])
    try:
        assert process.stderr is not None
        said = list(iter(process.stderr.readline, "PREPARING\n"))
        assert any("ready after" in line for line in said)
        begun = time.monotonic()
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
        assert process.returncode == 128 + number
        assert time.monotonic() - begun < 3
        assert "Traceback" not in error
        assert not list(options.out.iterdir())
    finally:
        process.kill()
        process.communicate()


def test_a_signal_while_packages_are_imported_ends_the_process(options):
    process = started(options, None)
    time.sleep(1.0)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert not options.out.exists() or not list(options.out.iterdir())


def test_a_signal_in_training_saves_and_the_status_tells_it(options):
    def send() -> None:
        while not (options.out / "last.train.pt").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(SystemExit) as caught:
        main([*arguments_of(options), "--save-seconds", "0.01"])
    assert caught.value.code == 128 + signal.SIGTERM
    summary = json.loads((options.out / "summary.json").read_text())
    assert not summary["finished"]
    assert torch.load(options.out / "last.train.pt", weights_only=True)["step"] == summary["steps"] > 0
