"""Things handed from one thread to the next, few at a time and in their order."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class StoppedError(Exception):
    """The other end, or somebody else, has given the work up."""


class Channel(Generic[T]):
    """A queue with room for a few things, from which one thread takes what others put in.

    Args:
        room: so many things wait at most; whoever puts another one in waits until one is taken.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._things: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self._error: BaseException | None = None

    def put(self, thing: T) -> None:
        """Hand a thing over; waits for room.

        Raises:
            StoppedError: nobody will take it.
        """
        with self._changed:
            while len(self._things) >= self._room and not self._stopped:
                self._changed.wait()
            if self._stopped:
                raise StoppedError
            self._things.append(thing)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come; whoever takes gets what is there, and then the error, if there is one."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """Give up: what waits is dropped, and both ends are told."""
        with self._changed:
            self._stopped = True
            self._things.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """All things in their order.

        Raises:
            StoppedError: the work was given up.
            BaseException: what the channel was ended with.
        """
        while True:
            with self._changed:
                while not (self._things or self._ended or self._stopped):
                    self._changed.wait()
                if self._stopped:
                    raise StoppedError
                if not self._things:
                    if self._error is not None:
                        raise self._error
                    return
                thing = self._things.popleft()
                self._changed.notify_all()
            yield thing


class Crew:
    """Threads that work beside the one that made them; at the end of the ``with`` block none is left.

    Args:
        stop: makes them end early; called when the block is left by an exception.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._ends: list[threading.Event] = []

    def start(self, work: Callable[[], None], name: str) -> None:
        """Begin some work, which has to keep its errors for itself."""
        ended = threading.Event()

        def run() -> None:
            try:
                work()
            finally:
                ended.set()

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._ends.append(ended)
        try:
            thread.start()
        except RuntimeError:  # the system gives no further thread
            ended.set()
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        """Wait for all, whatever signals come meanwhile: they use files that are closed next.

        For events, not by ``Thread.join``: until Python 3.12 a thread whose ``join`` is interrupted counts as ended.
        """
        signal: BaseException | None = None
        if kind is not None:
            self._stop()
        for ended in self._ends:
            while not ended.is_set():
                try:
                    ended.wait()
                except KeyboardInterrupt as error:
                    self._stop()
                    signal = error
        if signal is not None:
            raise signal
