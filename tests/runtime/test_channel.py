"""Things from thread to thread: in their order, few at a time, and an end that both sides see."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from defian_edge.runtime.channel import Channel, Crew, StoppedError

PATIENCE = 20.0
"""Seconds after which a thread that should have ended is taken for one that hangs."""


def test_things_come_in_their_order_and_no_more_wait_than_there_is_room():
    channel: Channel[int] = Channel(3)
    put: list[int] = []

    def fill() -> None:
        for index in range(50):
            channel.put(index)
            put.append(index)
        channel.end()

    with Crew(channel.stop) as crew:
        crew.start(fill, "fill")
        taken = []
        for thing in channel:
            taken.append(thing)
            assert len(put) - len(taken) <= 3
    assert taken == put == list(range(50))


def test_an_error_comes_after_the_things_before_it():
    channel: Channel[str] = Channel(5)
    channel.put("a")
    channel.put("b")
    channel.end(ValueError("the source is gone"))
    taken = []
    with pytest.raises(ValueError, match="source is gone"):
        taken.extend(channel)
    assert taken == ["a", "b"]


def test_stopping_wakes_whoever_waits_at_either_end():
    full, empty = Channel[int](1), Channel[int](1)
    full.put(0)
    ended: list[str] = []

    def put() -> None:
        try:
            full.put(1)
        except StoppedError:
            ended.append("put")

    def take() -> None:
        try:
            list(empty)
        except StoppedError:
            ended.append("take")

    threads = [threading.Thread(target=each, daemon=True) for each in (put, take)]
    for thread in threads:
        thread.start()
    full.stop()
    empty.stop()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(ended) == ["put", "take"]
    with pytest.raises(StoppedError):
        full.put(2)
    with pytest.raises(StoppedError):
        list(full)


WAITED_FOR = """
import os, signal, threading, time
from defian_edge.runtime.channel import Crew

begun, go, ended = threading.Event(), threading.Event(), threading.Event()
stops = []

def stop():
    stops.append(1)
    go.set()

def work():
    begun.set()
    go.wait(0.2)
    os.kill(os.getpid(), signal.SIGINT)
    go.wait(20)
    time.sleep(0.3)  # as a codec that finishes its frame
    ended.set()

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with Crew(stop) as crew:
        crew.start(work, "work")
except KeyboardInterrupt:
    print(begun.is_set(), ended.is_set(), bool(stops))
"""


def test_no_thread_outlives_its_crew_and_a_signal_does_not_leave_one_behind():
    """The signal comes while the crew is waited for, as a second Ctrl-C does."""
    done = subprocess.run([sys.executable, "-c", WAITED_FOR], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True True True\n", "")


STORM = """
import faulthandler, random, signal
from defian_edge.runtime.channel import Channel, Crew, StoppedError

def end(*_):
    raise KeyboardInterrupt

def stop():
    frames.stop()
    results.stop()

def decode():
    try:
        for index in range(10**9):
            frames.put(index)
    except StoppedError:
        pass

def encode():
    try:
        for _ in results:
            pass
    except StoppedError:
        pass

signal.signal(signal.SIGALRM, end)
moments, ended = random.Random(0), 0
for _ in range(400):
    faulthandler.dump_traceback_later(20, exit=True)
    frames, results = Channel(2), Channel(4)
    try:
        with Crew(stop) as crew:
            signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-5, 3e-3))
            crew.start(decode, "decode")
            crew.start(encode, "encode")
            for frame in frames:
                results.put(frame)
    except KeyboardInterrupt:
        ended += 1
print(ended)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_at_whatever_step_a_signal_comes_all_end_and_nothing_else_is_raised():
    """Made of ``threading.Condition`` this stood still after a few dozen."""
    done = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("400\n", "")
