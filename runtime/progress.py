"""A progress bar for terminals, in the standard library alone: a Jetson's runtime has no other."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, TextIO

from .entry import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

WIDTH, WIDE = 30, 80
INTERVAL = 0.1


class ProgressBar:
    """``[#####.....] 5/10 0:12 left``, redrawn in place on a terminal and silent anywhere else.

    Args:
        total: how many steps there are; None if nobody knows.
        stream: where to draw; default standard error.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, total: int | None, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._clock = clock
        self._begun = clock()
        self._drawn = float("-inf")
        self._done = 0
        self._shown = self._stream.isatty()

    def step(self, count: int = 1) -> None:
        """Some more steps are done."""
        self._done += count
        now = self._clock()
        if self._shown and (now - self._drawn >= INTERVAL or self._done == self._total):
            self._drawn = now
            self._stream.write(f"\r{self.line(now)}\x1b[K")
            self._stream.flush()

    def line(self, now: float) -> str:
        """What the bar looks like at a time of its clock."""
        seconds = max(now - self._begun, 1e-9)
        if not self._total:
            return f"{self._done} done, {self._done / seconds:.1f}/s"
        left = round(seconds / max(self._done, 1) * (self._total - self._done))
        said = f"{self._done}/{self._total} {left // 60}:{left % 60:02} left"
        width = max(0, min(WIDTH, self._columns() - len(said) - len("[] ") - 1))
        filled = width * self._done // self._total
        bar = "#" * filled + "." * (width - filled)
        return f"[{bar}] {said}" if width else said

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):  # no terminal
            return WIDE

    def say(self, text: str, stream: TextIO | None = None) -> None:
        """Print a line without leaving parts of the bar in it."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = float("-inf")
        print(printable(text), file=stream or sys.stdout, flush=True)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
