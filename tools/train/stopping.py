"""How a training is asked to end early: at once while it gets ready, with everything saved once it has begun."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from defian_edge.runtime.entry import leave_if_importing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

Stop = Callable[[], bool]
"""Asked behind every few steps."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 3.0
"""Seconds that a signal may wait for Python: a library that computes or compiles in C lets no handler run."""


class StoppedError(BaseException):
    """A signal that is obeyed at once; no :class:`Exception`, because compilers catch these and go on."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number


def never() -> bool:
    """Nobody asks."""
    return False


class Asked:
    """Whether a signal asked to stop; being asked for the first time says that training has begun.

    Attributes:
        number: of the signal that asked, None before.
        begun: whether it was asked.
        obeyed: a signal that ends the process at once.
        over: nobody cares any more.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.begun = False
        self.obeyed: int | None = None
        self.over = False

    def __call__(self) -> bool:
        """Whether to stop."""
        self.begun = True
        return self.number is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """A signal arrived and Python is free to act."""
        if self.begun and self.number is None:
            self.number = number
            return
        leave_if_importing(frame, 128 + number)
        self.obeyed = number
        raise StoppedError(number)

    def watch(self, bell: socket.socket) -> None:
        """End the process if a signal that is to be obeyed at once was not, after :data:`PATIENCE`."""
        with bell:
            while received := bell.recv(1):
                number, begun = received[0], self.begun
                if number not in SIGNALS:
                    continue
                time.sleep(PATIENCE)
                if not self.over and (self.obeyed or (not begun and self.number is None)):
                    os._exit(128 + number)


@contextmanager
def stop_on_signals() -> Iterator[Asked]:
    """Before the first step SIGINT and SIGTERM end the process at once; later the first saves, a second does not.

    Raises:
        StoppedError: a signal ends it at once.
    """
    asked = Asked()
    here, there = socket.socketpair()
    here.settimeout(0)
    bell = signal.set_wakeup_fd(here.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=asked.watch, args=(there,), daemon=True).start()
    before = {number: signal.signal(number, asked.handle) for number in SIGNALS}
    try:
        yield asked
        asked.over = True
    except BaseException as error:  # a compiler may make quite another error of it
        if asked.obeyed is None:
            raise
        raise StoppedError(asked.obeyed) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(bell)
        here.close()
