"""A stream of frames: order, overlap, bounded memory, back-pressure, and a clean stop whatever happens."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import numpy as np
import pytest

from runtime.device.streams import Mark
from runtime.engine.session import EngineSession, RunOptions
from runtime.errors import DefianError
from runtime.session import open_session
from tests.device.engines import noise, write_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("trt")


def frames(count: int, height: int = 8, width: int = 9) -> list[np.ndarray]:
    return [noise(height, width, 3, seed=seed) for seed in range(count)]


@pytest.mark.parametrize("in_flight", [1, 2, 3, 8])
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_frames_come_out_in_order_with_the_right_pixels(tmp_path, reference, in_flight, flavour):
    options = RunOptions(in_flight=in_flight, kernel_cache=False)
    with open_session(write_engine(tmp_path, flavour=flavour), options=options) as session:
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


@pytest.mark.parametrize("forgotten", ["wait", "hold"])
def test_a_pipeline_that_forgets_to_wait_gives_wrong_pixels_here(tmp_path, reference, monkeypatch, forgotten):
    """``wait`` is the host's for the result, ``hold`` a stream's for another's: either missing is a wrong picture."""
    source = frames(6)
    with EngineSession(write_engine(tmp_path), RunOptions(cuda_graphs=False)) as session:
        with monkeypatch.context() as broken:
            broken.setattr(Mark, forgotten, lambda *_: None)
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

    with open_session(write_engine(tmp_path), options=RunOptions(in_flight=3)) as session:
        results = session.upscale_frames(source())
        assert not taken
        for asked in range(1, 20):
            next(results)
            assert len(taken) <= asked + 3


def test_a_long_stream_allocates_no_more_than_a_short_one(tmp_path, driver):
    with open_session(write_engine(tmp_path)) as session:
        list(session.upscale_frames(frames(10)))
        driver.reset()
        list(session.upscale_frames(frames(10)))
        short = driver.ask("allocations")
        driver.reset()
        list(session.upscale_frames(frames(500)))
        assert driver.ask("allocations") == short


def test_what_the_ring_held_is_freed_when_the_frames_end(tmp_path, driver):
    with open_session(write_engine(tmp_path)) as session:
        before = driver.ask("live")
        list(session.upscale_frames(frames(5)))
        assert driver.ask("live") == before


def test_an_exception_from_the_source_passes_through_and_frees_everything(tmp_path, driver, reference):
    def broken() -> Iterator[np.ndarray]:
        yield from frames(4)
        raise OSError("the camera is gone")

    with open_session(write_engine(tmp_path)) as session:
        before = driver.ask("live")
        results: list[np.ndarray] = []
        with pytest.raises(OSError, match="camera"):
            results.extend(session.upscale_frames(broken()))
        assert driver.ask("live") == before
        image = noise(1, 8, 8, 3)
        assert np.array_equal(session(image), reference(image))


def test_a_bad_frame_in_the_middle_comes_after_the_results_before_it(tmp_path):
    source = [*frames(2), noise(99, 8, 3), *frames(2)]
    with open_session(write_engine(tmp_path), options=RunOptions(in_flight=1)) as session:
        results = session.upscale_frames(source)
        next(results)
        with pytest.raises(DefianError, match="nearest that fits is 1x64x8"):
            list(results)


@pytest.mark.parametrize("end", ["close", "forget", "close the session"])
def test_a_pipeline_that_is_left_in_the_middle_frees_everything(tmp_path, driver, end):
    session = open_session(write_engine(tmp_path))
    before = driver.ask("live")
    results = session.upscale_frames(frames(10))
    next(results)
    assert driver.ask("live") > before
    if end == "close":
        results.close()  # pyright: ignore[reportAttributeAccessIssue]
    elif end == "forget":
        results = None
        gc.collect()
    if end != "close the session":
        assert driver.ask("live") == before
    session.close()
    assert driver.ask("live") == 0
    if end == "close the session":
        assert results is not None
        with pytest.raises(DefianError, match="closed while frames were under way"):
            list(results)


def test_a_call_between_frames_disturbs_nothing(tmp_path, reference):
    source, between = frames(12), noise(1, 8, 9, 3, seed=99)
    with open_session(write_engine(tmp_path)) as session:
        for frame, result in zip(source, session.upscale_frames(source), strict=True):
            assert np.array_equal(result, reference(frame[None])[0])
            assert np.array_equal(session(between), reference(between))


def test_a_refused_run_in_the_middle_stops_cleanly(tmp_path, trt, driver):
    with open_session(write_engine(tmp_path), options=RunOptions(cuda_graphs=False)) as session:
        before = driver.ask("live")
        trt.faults.refused_enqueue = 4
        results: list[np.ndarray] = []
        with pytest.raises(DefianError, match="illegal memory access"):
            results.extend(session.upscale_frames(frames(10)))
        assert driver.ask("live") == before


def test_a_failing_allocation_in_any_position_of_the_ring_is_survived(tmp_path, driver, reference):
    source = frames(8)
    with open_session(write_engine(tmp_path)) as session:
        driver.reset()
        list(session.upscale_frames(source))
        positions, before, failed = driver.ask("allocations"), driver.ask("live"), 0
        assert positions > 20
    for position in range(1, positions + 1):
        with open_session(write_engine(tmp_path)) as session:
            driver.fail_from(position)
            try:
                results = list(session.upscale_frames(source))
            except DefianError:
                failed += 1
            else:
                assert all(
                    np.array_equal(each, reference(frame[None])[0]) for frame, each in zip(source, results, strict=True)
                )
            driver.fail_from(0)
            assert driver.ask("live") == before
    assert failed > 15


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
