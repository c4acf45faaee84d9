"""Decoding, network and encoding work at once; an error or a signal in any of them ends all three."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import DiskFullError
from defian_edge.runtime.video import DECODED, FINISHED, upscale_video
from defian_edge.runtime.video_source import FilmReader
from defian_edge.runtime.video_target import FilmWriter
from tests.conftest import REPOSITORY
from tests.doubles.enlarger import Enlarger
from tests.runtime.test_video_losses import film, shown

pytest.importorskip("av", reason="PyAV is not installed")

PATIENCE = 30.0
"""Seconds after which what is waited for is taken as not happening."""


def ours() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name in ("decoding", "encoding")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:  # noqa: ANN401
    yield
    assert ours() == []


def test_the_three_work_at_once_and_order_is_kept(tmp_path, monkeypatch):
    """Frame 3 is in the network until a later one is decoded, and encoding waits in frame 1 until then."""
    decoded, computing = [threading.Event() for _ in range(60)], [threading.Event() for _ in range(60)]
    count = {"decoded": 0, "encoded": 0}
    whole, take = FilmReader._whole, FilmWriter.take

    def _whole(self: Any, frame: Any) -> Any:  # noqa: ANN401
        decoded[count["decoded"]].set()
        count["decoded"] += 1
        return whole(self, frame)

    def _take(self: Any, thing: Any) -> None:  # noqa: ANN401
        if count["encoded"] == 1:
            assert computing[3].wait(PATIENCE), "the network waits for the encoder"
        count["encoded"] += 1
        take(self, thing)

    class Slow(Enlarger):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            index = len(self.seen)
            computing[index].set()
            if index == 3:
                assert decoded[index + DECODED].wait(PATIENCE), "decoding waits for the network"
            return super().__call__(images)

    monkeypatch.setattr(FilmReader, "_whole", _whole)
    monkeypatch.setattr(FilmWriter, "take", _take)
    source = film(tmp_path / "a.mkv", 12)
    assert upscale_video(Slow(), source, tmp_path / "b.mkv", lambda: None).frames == 12
    assert shown(tmp_path / "b.mkv") == 12


def test_however_slow_the_rest_is_only_a_few_frames_wait(tmp_path, monkeypatch):
    alive, most = 0, 0
    whole, take = FilmReader._whole, FilmWriter.take

    def _whole(self: Any, frame: Any) -> Any:  # noqa: ANN401
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return whole(self, frame)

    def _take(self: Any, thing: Any) -> None:  # noqa: ANN401
        nonlocal alive
        threading.Event().wait(0.01)
        alive -= isinstance(thing, np.ndarray)
        take(self, thing)

    monkeypatch.setattr(FilmReader, "_whole", _whole)
    monkeypatch.setattr(FilmWriter, "take", _take)
    upscale_video(Enlarger(), film(tmp_path / "a.mkv", 60), tmp_path / "b.mkv", lambda: None)
    assert DECODED < most <= DECODED + FINISHED + 4, "and one in each hand"


@pytest.mark.parametrize("place", ["decoding", "network", "encoding", "step"])
def test_an_error_in_any_of_them_is_the_error_and_leaves_nothing(tmp_path, monkeypatch, place):
    def fail(*_: object) -> Any:  # noqa: ANN401
        raise DefianError(f"{place} is broken")

    class Failing(Enlarger):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            return fail() if place == "network" and len(self.seen) == 5 else super().__call__(images)

    if place == "decoding":
        monkeypatch.setattr(FilmReader, "_whole", fail)
    if place == "encoding":
        monkeypatch.setattr(FilmWriter, "take", fail)
    source = film(tmp_path / "a.mkv", 30)
    with pytest.raises(DefianError, match=f"{place} is broken"):
        upscale_video(Failing(), source, tmp_path / "sr" / "b.mkv", fail if place == "step" else lambda: None)
    assert list((tmp_path / "sr").iterdir()) == []


def test_a_disk_that_fills_up_under_the_encoder_is_blamed(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(FilmWriter, "take", full)
    with pytest.raises(DiskFullError, match="No space left"):
        upscale_video(Enlarger(), film(tmp_path / "a.mkv", 30), tmp_path / "b.mkv", lambda: None)
    assert not (tmp_path / "b.mkv").exists()


CHILD = """
import sys, threading
from pathlib import Path
from defian_edge.runtime.entry import begin, carry_out
begin()
from defian_edge.runtime.video import upscale_video
from defian_edge.runtime.{room} import {name}
from tests.doubles.enlarger import Enlarger

before, seen = {name}.{method}, 0

def slow(self, *rest):
    global seen
    seen += 1
    if seen == 3:
        print("inside", flush=True)
        threading.Event().wait(3)
    return before(self, *rest)

{name}.{method} = slow
carry_out(lambda: upscale_video(Enlarger(), Path(sys.argv[1]), Path(sys.argv[2]), lambda: None).frames * 0, "stopped")
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("room", "name", "method"),
    [
        ("video_source", "FilmReader", "_whole"),
        ("video_target", "FilmWriter", "take"),
        ("video_target", "FilmWriter", "finish"),
    ],
)
def test_a_signal_ends_it_wherever_it_is_and_nothing_is_left(tmp_path, number, status, room, name, method):
    source, target = film(tmp_path / "a.mkv", 20), tmp_path / "sr" / "b.mkv"
    code = CHILD.format(room=room, name=name, method=method)
    if method == "finish":
        code = code.replace("seen == 3", "seen == 1")
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, source, target],  # an old PyAV warns that it tells less
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "inside\n"
        child.send_signal(number)
        try:
            _, said = child.communicate(timeout=PATIENCE)
        finally:
            child.kill()
    assert (child.returncode, said) == (status, "stopped\n")
    assert list((tmp_path / "sr").iterdir()) == []
