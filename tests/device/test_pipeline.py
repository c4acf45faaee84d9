"""A stream of frames: order, synchronisation, bounded memory, back-pressure, and a clean stop whatever happens."""

from __future__ import annotations

import gc
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.device.streams import Mark, WorkStream
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.guard import FrameGuard
from defian_edge.runtime.session import open_session
from defian_edge.runtime.tiles import TiledSession
from defian_edge.runtime.tiling import Tiling
from tests.device.engines import frames, noise, write_engine

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.usefixtures("trt")


@pytest.mark.parametrize("in_flight", [1, 2, 3, 8])
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_frames_come_out_in_order_with_the_right_pixels(tmp_path, reference, in_flight, flavour):
    options = EngineBackend(in_flight=in_flight, kernel_cache=False)
    with open_session(write_engine(tmp_path, flavour=flavour), backend=options) as session:
        source = frames(20)
        results = list(session.upscale_frames(iter(source)))
    assert len(results) == 20
    for frame, result in zip(source, results, strict=True):
        assert np.array_equal(result, reference(frame[None])[0])


def test_frames_may_change_their_shape_on_the_way(tmp_path, reference):
    source = [noise(6 + index // 3, 7, 3, seed=index) for index in range(12)]
    with open_session(write_engine(tmp_path)) as session:
        results = list(session.upscale_frames(source))
    assert all(np.array_equal(result, reference(frame[None])[0]) for frame, result in zip(source, results, strict=True))


FORGOTTEN = ("the host's wait for a result", "the network's wait for its input", "the copy's wait for the network")


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_a_pipeline_that_forgets_to_wait_gives_wrong_pixels_here(tmp_path, reference, monkeypatch, forgotten):
    """The proof that the tests here would notice: any one of the three synchronisations left out is a wrong picture."""
    source, calls, plain = frames(6), itertools.count(), Mark.hold

    def hold(mark: Mark, stream: WorkStream) -> None:
        if next(calls) % 2 != FORGOTTEN.index(forgotten) - 1:
            plain(mark, stream)

    with EngineSession(write_engine(tmp_path), EngineBackend(cuda_graphs=False)) as session:
        with monkeypatch.context() as broken:
            if forgotten == FORGOTTEN[0]:
                broken.setattr(Mark, "wait", lambda _: None)
            else:
                broken.setattr(Mark, "hold", hold)
            results = list(session.upscale_frames(source))
        wrong = [
            not np.array_equal(each, reference(frame[None])[0]) for frame, each in zip(source, results, strict=True)
        ]
        assert any(wrong)
        again = list(session.upscale_frames(source))
    assert all(np.array_equal(each, reference(frame[None])[0]) for frame, each in zip(source, again, strict=True))


def test_frames_are_taken_only_as_results_are_asked_for(tmp_path):
    taken: list[int] = []

    def source() -> Iterator[np.ndarray]:
        for index, frame in enumerate(frames(50)):
            taken.append(index)
            yield frame

    with open_session(write_engine(tmp_path), backend=EngineBackend(in_flight=3)) as session:
        results = session.upscale_frames(source())
        assert not taken
        for asked in range(1, 20):
            next(results)
            assert len(taken) <= asked + 3


def test_two_thousand_frames_of_changing_shapes_stream_in_flat_memory(tmp_path, trt, driver, reference):
    source = (noise(4 + index // 40 % 7, 5 + index // 8 % 5, 3, seed=index % 5) for index in range(2000))
    peak = []
    with open_session(write_engine(tmp_path)) as session:
        for index, _ in enumerate(session.upscale_frames(source)):
            peak.append((driver.ask("live_bytes"), driver.ask("live")))
            assert index < 2000
        largest_shape_context = 10 * 9 * 3 * 5
        assert max(size for size, _ in peak) <= 4096 + 3 * largest_shape_context
        assert max(peak[1000:]) <= max(peak[:1000])
        [last] = session.upscale_frames([noise(8, 8, 3)])
        assert np.array_equal(last, reference(noise(1, 8, 8, 3))[0])
    assert len(peak) == 2000
    assert len(trt.work.waiting) < 2000, "captured runs alone are kept, for their graphs"


@pytest.mark.parametrize("in_flight", [1, 3])
def test_an_exception_from_the_source_comes_after_the_results_before_it(tmp_path, driver, reference, in_flight):
    def broken() -> Iterator[np.ndarray]:
        yield from frames(4)
        raise OSError("the camera is gone")

    options = EngineBackend(in_flight=in_flight, cuda_graphs=False)
    with open_session(write_engine(tmp_path), backend=options) as session:
        before = driver.ask("live")
        list(session.upscale_frames(frames(4)))
        results: list[np.ndarray] = []
        with pytest.raises(OSError, match="camera"):
            results.extend(session.upscale_frames(broken()))
        assert driver.ask("live") == before
        for frame, result in zip(frames(4), results, strict=True):
            assert np.array_equal(result, reference(frame[None])[0])
        image = noise(1, 8, 8, 3)
        assert np.array_equal(session(image), reference(image))


BAD_FRAMES = {
    "too large": (noise(99, 8, 3), "nearest that fits is 1x64x8"),
    "grey": (noise(8, 8), r"Expected a frame .* found \[8, 8\]"),
    "a batch": (noise(1, 8, 8, 3), r"Expected a frame .* found \[1, 8, 8, 3\]"),
    "RGBA": (noise(8, 8, 4), r"found uint8 \[1, 8, 8, 4\]"),
    "float": (noise(8, 8, 3).astype(np.float32), "found float32"),
    "nothing": (None, "found NoneType"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
@pytest.mark.parametrize("tiled", [False, True])
def test_a_bad_frame_in_the_middle_comes_after_the_results_before_it(tmp_path, name, tiled):
    bad, message = BAD_FRAMES[name]
    source: list[Any] = [*frames(2), bad, *frames(2)]
    with open_session(write_engine(tmp_path)) as inner:
        session = TiledSession(inner, Tiling(64, 64, 0), always=False) if tiled else inner
        if tiled and name == "too large":
            assert [each.shape for each in session.upscale_frames(source)][2] == (198, 16, 3)
            return
        results: list[np.ndarray] = []
        with pytest.raises(DefianError, match=message):
            results.extend(session.upscale_frames(source))
        assert len(results) == 2


def test_the_guard_looks_at_the_frame_that_was_sent_not_at_what_its_memory_holds_by_now(tmp_path, monkeypatch):
    """A camera that reads into one array: a picture that has become black in the meantime excuses no black result."""
    seen: list[np.ndarray] = []
    monkeypatch.setattr(FrameGuard, "see", lambda _, images, __: seen.append(images.copy()))
    array = np.empty((8, 9, 3), np.uint8)

    def camera() -> Iterator[np.ndarray]:
        for frame in frames(6):
            array[:] = frame
            yield array

    with open_session(write_engine(tmp_path)) as session:
        list(session.upscale_frames(camera()))
    assert all(np.array_equal(images[0], frame) for images, frame in zip(seen, frames(6), strict=True))


@pytest.mark.parametrize("end", ["close", "forget", "close the session"])
def test_a_pipeline_that_is_left_in_the_middle_frees_everything(tmp_path, driver, end):
    session = open_session(write_engine(tmp_path))
    results = session.upscale_frames(frames(10))
    next(results)
    if end == "close":
        results.close()
    elif end == "forget":
        results = None
        gc.collect()
    if end != "close the session":
        live = driver.ask("live")
        assert len(list(session.upscale_frames(frames(10)))) == 10
        assert driver.ask("live") <= live + 3, "the same ring, now with its graphs"
    session.close()
    assert driver.ask("live") == 0
    if end == "close the session":
        assert results is not None
        with pytest.raises(DefianError, match="closed while frames were under way"):
            list(results)


def test_a_stream_after_one_that_was_left_may_have_another_shape(tmp_path, reference):
    """The ring that is kept is idle: else memory would be freed here that copies under way still need."""
    source = frames(6, height=11)
    with EngineSession(write_engine(tmp_path), EngineBackend(cuda_graphs=False)) as session:
        left = session.upscale_frames(frames(10))
        next(left)
        left.close()
        results = list(session.upscale_frames(source))
    assert all(np.array_equal(each, reference(frame[None])[0]) for frame, each in zip(source, results, strict=True))


def test_a_call_between_frames_disturbs_nothing(tmp_path, reference):
    source, between = frames(12), noise(1, 8, 9, 3, seed=99)
    with open_session(write_engine(tmp_path)) as session:
        for frame, result in zip(source, session.upscale_frames(source), strict=True):
            assert np.array_equal(result, reference(frame[None])[0])
            assert np.array_equal(session(between), reference(between))


def test_a_second_thread_may_not_use_the_pipeline(tmp_path):
    import threading

    said: list[str] = []

    def elsewhere() -> None:
        try:
            next(session.upscale_frames(frames(1)))
        except DefianError as error:
            said.append(str(error))

    with open_session(write_engine(tmp_path)) as session:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert "belongs to the thread" in said[0]
