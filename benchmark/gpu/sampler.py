"""Reads a figure over and over in a thread of its own while something else runs."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
INTERVAL = 0.05


class Sampler(Generic[T]):
    """Samples from the beginning to the end of a ``with`` block, both included.

    Args:
        read: gives a sample, or None where there is none.
        interval: seconds between two samples.
        clock: monotonic, in seconds.

    Attributes:
        samples: (clock, sample).
    """

    def __init__(
        self, read: Callable[[], T | None], interval: float = INTERVAL, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._read, self._interval, self._clock = read, interval, clock
        self._stop: SimpleQueue[None] = SimpleQueue()  # not an Event, which a signal while it is set may leave locked
        self.samples: list[tuple[float, T]] = []

    def _take(self) -> None:
        sample = self._read()
        if sample is not None:
            self.samples.append((self._clock(), sample))

    def _run(self) -> None:
        while True:
            try:
                self._stop.get(timeout=self._interval)
            except Empty:
                self._take()
            else:
                return

    def __enter__(self) -> Sampler[T]:
        self._take()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.put(None)
        self._thread.join()
        self._take()
