"""Stages for the tests of the runner: one that measures, and some that go wrong in each way a stage can."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from defian_edge.selftest.protocol import CannotRun
from defian_edge.selftest.table import Stage

if TYPE_CHECKING:
    from defian_edge.selftest.protocol import Record, Settings

NAMES = ("measures", "wrong", "lacks", "package", "own", "breaks", "dies", "sleeps", "dozes", "memory", "idle")


def stage(name: str, limit: int = 30, least: int = 1) -> Stage:
    """One of the stages below."""
    return Stage(name, f"it {name}", least, limit, work=f"tests.selftest.made_up:{name}")


def measures(settings: Settings, record: Record) -> None:
    record.figure("seconds", settings.seconds)
    record.figure("infinite", float("inf"))
    record.check("small enough", 1.0, at_most=2.0, at_least=0.5)


def wrong(_settings: Settings, record: Record) -> None:
    record.figure("kept", 1)
    record.check("too large", 3.0, at_most=2.0)
    record.check("not a number", float("nan"), at_most=2.0)


def lacks(_settings: Settings, _record: Record) -> None:
    raise CannotRun("There is no such card.")


def package(_settings: Settings, _record: Record) -> None:
    import no_such_package_anywhere  # noqa: F401 # pyright: ignore[reportMissingImports]


def own(_settings: Settings, _record: Record) -> None:
    import export.no_such_room  # noqa: F401 # pyright: ignore[reportMissingImports]


def idle(_settings: Settings, record: Record) -> None:
    """It measures, and holds nothing against a limit."""
    record.figure("version", "1.0")


def dozes(settings: Settings, record: Record) -> None:
    """Ended with something proved."""
    record.check("small enough", 1.0, at_most=2.0)
    time.sleep(10 * settings.seconds)


def breaks(_settings: Settings, record: Record) -> None:
    record.figure("kept", 1)
    print("its last words")
    raise ValueError("a bug")


def dies(_settings: Settings, record: Record) -> None:
    record.figure("kept", 1)
    os.kill(os.getpid(), signal.SIGSEGV)


def sleeps(settings: Settings, record: Record) -> None:
    """With a child of its own, which must not outlive it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    record.figure("child", child.pid)
    time.sleep(10 * settings.seconds)


def memory(_settings: Settings, _record: Record) -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
