"""Work that must end in time: what takes longer is broken off where it stands, with the processes it started."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

AGAIN = 2.0
"""Seconds until the alarm rings once more, in case that some code on the way kept the first for itself."""


class TimeIsUpError(BaseException):
    """No :class:`Exception`, because compilers catch these and go on by another way."""


def can_limit() -> bool:
    """Whether this platform, and this thread, can break off work."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Break off what is inside after so many seconds; None, or a platform without alarms, gives it all the time.

    Whatever the reason that it ends early, processes that it started end with it: compilers work in such.

    Raises:
        TimeIsUpError: the time is up.
    """
    if seconds is None or not can_limit():
        yield
        return
    if seconds <= 0:
        raise TimeIsUpError("no time is left for it")
    earlier, armed = descendants(os.getpid()), True

    def ring(*_: object) -> None:
        if armed:
            raise TimeIsUpError(f"not done after {seconds:.3g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    broken_off = True
    try:
        yield
        broken_off = False
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        if broken_off:
            end_all(descendants(os.getpid()) - earlier)


def descendants(parent: int) -> set[int]:
    """Processes below a process; empty where there is no ``/proc``."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it may end meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found: set[int] = set()
    waiting = [parent]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.add(child)
            waiting.append(child)
    return found


def end_all(processes: set[int]) -> None:
    """End processes at once."""
    for process in processes:
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)
