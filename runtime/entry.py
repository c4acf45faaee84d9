"""How every command begins and ends, whatever happens and whenever: one message, the right status, no traceback.

Standard library alone and quickly imported, because a command can be ended while its packages are still being loaded.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from .errors import FULL, DefianError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType, TracebackType

REFUSED = 2
INTERRUPTED, TERMINATED, NOBODY_READS = 130, 143, 141
"""128 and the number of SIGINT, SIGTERM, SIGPIPE, as shells count."""
AT_ONCE = 0.2
"""Seconds within which signals are one."""


class Terminated(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP: what is under way ends as at any Ctrl-C, and the status is the signal's."""

    latest: int | None = None
    """Status of the last of them: libraries, and Python's own import of some, make another exception of it."""

    raised: float = -inf
    """When the last of them was, in seconds of ``time.monotonic``."""

    def __init__(self, status: int = TERMINATED) -> None:
        super().__init__("terminated")
        self.status = Terminated.latest = status


def printable(text: object) -> str:
    """Text for a terminal: control characters, which could move the cursor or colour what follows, are escaped."""
    return "".join(
        letter
        if letter == "\n" or letter.isprintable()
        else letter.encode("unicode_escape", "backslashreplace").decode()
        for letter in str(text)
    )


def begin() -> None:
    """Set up a process for a command: call it first, before anything heavy is imported.

    Output that a terminal cannot show is escaped instead of refused, each line goes out as it comes, and goes nowhere
    where it was closed; SIGTERM and SIGHUP end the command as SIGINT does, and what reaches the top of the program
    becomes its status.
    """
    sys.stdout, sys.stderr = (_opened(stream) for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace", line_buffering=True)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _terminate)
    sys.excepthook = _top


def _opened(stream: TextIO | None) -> TextIO:
    """A stream that can be written; Python has None for one that was closed before it began, as by ``>&-``."""
    return Path(os.devnull).open("w", encoding="utf-8") if stream is None else stream


def status_of(error: BaseException) -> int | None:
    """The status of a command that ends by this; None for what no signal has ended."""
    if Terminated.latest is not None:
        return Terminated.latest
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return NOBODY_READS if isinstance(error, BrokenPipeError) else None


def carry_out(work: Callable[[], int], if_interrupted: str) -> NoReturn:
    """A command's work and how it ends: its status, or 2 and one message for what the user can change.

    Args:
        work: gives the status.
        if_interrupted: what is said when a signal ended it.

    Raises:
        SystemExit: always.
    """
    try:
        raise_if_ended()
        status = work()
    except (Exception, KeyboardInterrupt) as error:
        ended = status_of(error)
        if ended is not None:
            status = ended
            if status != NOBODY_READS:
                print(if_interrupted, file=sys.stderr)
        elif isinstance(error, DefianError):
            print(f"error: {printable(error)}", file=sys.stderr)
            status = REFUSED
        elif isinstance(error, OSError) and error.errno in FULL:
            status = say_full(error)
        else:
            raise
    Terminated.latest = None
    finish(status)


def say_full(error: OSError) -> int:
    """Say that the disk is full on which the output goes to a file, and give the status for it."""
    print(f"error: Cannot write the output: {error.strerror}.\n  Free some space.", file=sys.stderr)
    return REFUSED


def typers_status(ended: SystemExit) -> object:
    """The status of a command that typer or rich has ended.

    Typer makes 130 of every ``KeyboardInterrupt``, and both make 1 of a ``BrokenPipeError``, which then is the context.
    """
    if ended.code == INTERRUPTED and Terminated.latest is not None:
        return Terminated.latest
    cause = ended.__context__
    while cause is not None and not isinstance(cause, BrokenPipeError):
        cause = cause.__context__
    return ended.code if cause is None else NOBODY_READS


def asks_for(command: str, given: Sequence[str]) -> bool:
    """Whether arguments begin with a command's name, and not with a folder called so, which takes an ``--engine``."""
    return list(given[:1]) == [command] and not any(each.startswith("--engine") for each in given)


def run_command(module: str) -> None:
    """Import a command's module and run its ``main``; a package that it needs and lacks is one message and status 2."""
    try:
        main = import_module(module).main
    except DefianError as error:
        raise_if_ended()
        print(f"error: {printable(error)}", file=sys.stderr)
        finish(REFUSED)
    main()


def raise_if_ended() -> None:
    """For those who go on after an error, or to the next piece of work.

    A library may have made another exception of a signal's, and Python drops those that come while it calls back.

    Raises:
        Terminated: a signal came.
    """
    if Terminated.latest is not None:
        raise Terminated(Terminated.latest)


def finish(status: int) -> NoReturn:
    """End the process with a status, its output written as far as anybody reads it.

    Raises:
        SystemExit: always.
    """
    for stream in (sys.stdout, sys.stderr):
        _flush_or_drop(stream)
    raise SystemExit(status)


def leave_if_importing(frame: FrameType | None, status: int) -> None:
    """For a signal's handler: end the process here if the signal came while a module is being imported.

    An exception is no way out of there. A module's compiled part may abort the process by it or make it another one,
    and packages catch what their own imports raise; and an import leaves nothing behind that has to be tidied.

    Args:
        frame: what the signal interrupted, as the handler was given it.
        status: of the process.
    """
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    if frame is not None:
        _leave(status)


def _terminate(number: int, frame: FrameType | None) -> None:
    """End the command, once: a terminal that closes sends two signals together; the second would end the ending."""
    leave_if_importing(frame, 128 + number)
    now = time.monotonic()
    if now - Terminated.raised > AT_ONCE:
        Terminated.raised = now
        raise Terminated(128 + number)


def _top(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    status = status_of(error)
    if status is None:
        sys.__excepthook__(kind, error, trace)
        return
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End the process here, its output written as far as anybody reads it, and say what ended it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(RuntimeError):  # a signal came in the midst of a write
            _flush_or_drop(stream)
    if status != NOBODY_READS:
        with suppress(OSError):
            os.write(2, b"interrupted\n" if status == INTERRUPTED else b"terminated\n")
    os._exit(status)


def _flush_or_drop(stream: TextIO) -> None:
    """Flush; where nobody reads, let the rest go nowhere, or the interpreter would complain of it at its end."""
    try:
        stream.flush()
    except (OSError, ValueError):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (OSError, ValueError):
            return
