"""Steps in a child process: each says that it begins and what came of it, so that a crash has a name.

The child prints lines that begin with ``MARK``; libraries may print what else they like. Where a step ends the process,
another does the steps after it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DefianError, MissingPackageError
from .programs import finished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOGGER = logging.getLogger(__name__)

MARK = "defian-doctor "
DONE, SKIPPED, FAILED, CRASHED, END = "done", "skipped", "failed", "crashed", "end"
START = "start"
"""What has crashed where no step had begun."""
LAST_WORDS = 300
"""Letters of what a crashed process wrote last."""


class Skipped(Exception):  # noqa: N818 - no error
    """A step has nothing to do here; with the reason."""


@dataclass(frozen=True)
class Step:
    """What came of a step: ``done`` with its value, or ``skipped``, ``failed``, ``crashed`` with the reason."""

    name: str
    status: str
    value: Any = None
    reason: str = ""
    cure: str = ""


def carry_out_steps(steps: Sequence[tuple[str, Callable[[], Any]]], after: str = "") -> None:
    """In the child: do one after the other, whatever becomes of those before.

    Args:
        steps: name and work of each.
        after: name of the step that ended the process before; those after it are done.
    """
    names = [name for name, _ in steps]
    for name, work in steps[names.index(after) + 1 if after in names else 0 :]:
        _say({"name": name})
        said: dict[str, Any] = {"name": name, "status": DONE}
        try:
            said["value"] = work()
        except Skipped as why:
            said |= {"status": SKIPPED, "reason": str(why)}
        except MissingPackageError as why:
            said |= {"status": SKIPPED, "reason": why.message, "cure": why.hint}
        except DefianError as why:
            said |= {"status": FAILED, "reason": why.message, "cure": why.hint}
        except (Exception, SystemExit) as why:
            said |= {"status": FAILED, "reason": f"{type(why).__name__}: {why}"}
        _say(said)
    _say({"name": "", "status": END})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(f"\n{MARK}{json.dumps(what)}\n")
    sys.stdout.flush()


def leave() -> None:
    """In the child: end at once, since what libraries do while they are unloaded is no part of a step."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def run_steps(module: str, arguments: Sequence[str], seconds: float) -> list[Step]:
    """In the parent: what came of the steps of a module of this package, run with the step to begin after, or nothing,
    and the arguments.

    A step that was begun and not ended has crashed: with the signal, the time limit, or the exit status, and the last
    words of the process. Those after it are done by the next process, as long as there is time.
    """
    found: list[Step] = []
    end = time.monotonic() + seconds
    after = ""
    while True:
        found += _run_once(module, [after, *arguments], max(1.0, end - time.monotonic()))
        LOGGER.info("%s: %s", module, ", ".join(f"{step.name} {step.status}" for step in found))
        last = found[-1] if found else None
        if last is None or last.status != CRASHED or last.name in (START, after) or time.monotonic() >= end:
            return found
        after = last.name


def _run_once(module: str, arguments: Sequence[str], seconds: float) -> list[Step]:
    command = [sys.executable, "-c", _start(module), *arguments]
    try:
        status, output, errors = finished(command, seconds)
    except OSError as error:
        return [Step(START, CRASHED, reason=f"{sys.executable} does not start: {error.strerror}")]
    ending = f"it did not end within {round(seconds, 1):g} s" if status is None else _ending(status)
    return _read(output, ending, errors)


def _start(module: str) -> str:
    """A program that runs a module of this package as this process would find it, and nothing of the working folder."""
    package = __package__ or ""
    top = sys.modules[package.partition(".")[0]].__file__ or ""
    root = str(Path(top).resolve().parent.parent)
    return (
        "import runpy, sys\n"
        f"sys.path[:] = [each for each in sys.path if each] + [{root!r}]\n"
        f"runpy.run_module({f'{package}.{module}'!r}, run_name='__main__', alter_sys=True)\n"
    )


def _ending(status: int) -> str:
    if status >= 0:
        return f"the process ended with status {status}"
    try:
        return f"the process was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"the process was ended by signal {-status}"


def _read(output: bytes, ending: str, errors: bytes) -> list[Step]:
    begun, found, ended = "", [], False
    for line in output.decode("utf-8", "replace").split("\n")[:-1]:  # what has no end was cut off
        if not line.startswith(MARK):
            continue
        said = json.loads(line.removeprefix(MARK))
        begun = "" if "status" in said else said["name"]
        ended = said.get("status") == END
        if "status" in said and not ended:
            found.append(Step(**said))
    if not ended:
        words = " ".join(errors.decode("utf-8", "replace").split())[-LAST_WORDS:]
        found.append(Step(begun or START, CRASHED, reason=f"{ending}{f'; its last words: {words}' if words else ''}"))
    return found
