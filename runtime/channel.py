"""Things handed from one thread to the next, few at a time and in their order.

The thread that receives signals takes part, and a signal's exception may come between any two of its steps. Python's
``Condition``, ``Event`` and ``queue.Queue`` then now and then leave their lock taken for ever, and ``Thread.join``
until Python 3.12 takes its thread for ended. So everything here waits in ``SimpleQueue``, each of whose calls happens
whole or not at all, and decides by lists and flags.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class StoppedError(Exception):
    """The other end, or somebody else, has given the work up."""


class _End(NamedTuple):
    """Comes after the last thing."""

    error: BaseException | None


class Channel(Generic[T]):
    """A queue with room for a few things, from which one thread takes what others put in.

    Args:
        room: so many things wait at most; whoever puts another one in waits until one is taken.
    """

    def __init__(self, room: int) -> None:
        self._things: SimpleQueue[T | _End] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(room):
            self._room.put(None)
        self._stopped = False

    def put(self, thing: T) -> None:
        """Hand a thing over; waits for room.

        Raises:
            StoppedError: nobody will take it.
        """
        self._room.get()
        if self._stopped:
            self._room.put(None)  # for the next who waits
            raise StoppedError
        self._things.put(thing)

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come; whoever takes gets what is there, and then the error, if there is one."""
        self._things.put(_End(error))

    def stop(self) -> None:
        """Give up: what waits is not taken any more, and both ends are told."""
        self._stopped = True
        self._room.put(None)
        self._things.put(_End(None))

    def __iter__(self) -> Iterator[T]:
        """All things in their order.

        Raises:
            StoppedError: the work was given up.
            BaseException: what the channel was ended with.
        """
        while True:
            thing = self._things.get()
            if self._stopped or isinstance(thing, _End):
                break
            self._room.put(None)
            yield thing
        self._things.put(thing)  # for the next who asks
        if self._stopped:
            raise StoppedError
        if isinstance(thing, _End) and thing.error is not None:
            raise thing.error


class Crew:
    """Threads that work beside the one that made them; at the end of the ``with`` block none is at work.

    Args:
        stop: makes them end early; called when the block is left by an exception. May be called again.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._closed = False
        self._started = 0
        self._begun: list[str] = []
        self._ended: list[str] = []
        self._bell: SimpleQueue[None] = SimpleQueue()

    def start(self, work: Callable[[], None], name: str) -> None:
        """Begin some work, which has to keep its errors for itself.

        Raises:
            RuntimeError: the system gives no further thread.
        """

        def run() -> None:
            self._begun.append(name)
            try:
                if not self._closed:  # asked after it is known to have begun: either it sees this, or it is waited for
                    work()
            finally:
                self._ended.append(name)
                self._bell.put(None)

        try:
            threading.Thread(target=run, name=name, daemon=True).start()
        except RuntimeError as error:
            signal = _signal_in(error)
            if signal is None:
                raise
            raise signal from None
        self._started += 1

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        """Wait for all, whatever signals come meanwhile: they use files that are closed next."""
        signal: BaseException | None = None
        while True:
            try:
                if kind is not None or signal is not None:
                    self._closed = True
                    self._stop()
                while len(self._ended) < (len(self._begun) if self._closed else self._started):
                    self._bell.get()
                break
            except KeyboardInterrupt as error:
                signal = error
        if signal is not None:
            raise signal


def _signal_in(error: BaseException) -> BaseException | None:
    """The signal's exception that came while a thread was started, if it is one that Python made another of."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__context__
    return behind
