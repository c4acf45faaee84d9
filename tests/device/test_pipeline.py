"""A stream of frames: order, overlap, bounded memory, back-pressure, and a clean stop whatever happens."""

from __future__ import annotations

import gc
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from runtime.device.streams import Mark, WorkStream
from runtime.engine.session import EngineSession, RunOptions
from runtime.errors import DefianError
from runtime.guard import FrameGuard
from runtime.session import open_session
from runtime.tiles import TiledSession, Tiling
from tests.device.engines import noise, write_engine
from tests.doubles.standin_driver import ALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.interface import Session
    from tests.doubles.standin_driver import StandInDriver

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


FORGOTTEN = ("the host's wait for a result", "the network's wait for its input", "the copy's wait for the network")


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_a_pipeline_that_forgets_to_wait_gives_wrong_pixels_here(tmp_path, reference, monkeypatch, forgotten):
    """The proof that the tests here would notice: any one of the three synchronisations left out is a wrong picture."""
    source, calls, plain = frames(6), itertools.count(), Mark.hold

    def hold(mark: Mark, stream: WorkStream) -> None:
        if next(calls) % 2 != FORGOTTEN.index(forgotten) - 1:
            plain(mark, stream)

    with EngineSession(write_engine(tmp_path), RunOptions(cuda_graphs=False)) as session:
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


def test_the_ring_stays_for_the_next_stream_and_goes_with_the_session(tmp_path, driver):
    with open_session(write_engine(tmp_path)) as session:
        list(session.upscale_frames(frames(9)))
        live, allocations = driver.ask("live"), driver.ask("allocations")
        for _ in range(3):
            list(session.upscale_frames(frames(9)))
        assert (driver.ask("live"), driver.ask("allocations")) == (live, allocations)
        streams = [session.upscale_frames(frames(9)) for _ in range(3)]
        for stream in streams:
            next(stream)
        assert driver.ask("live") > 1.5 * live
        for stream in streams:
            stream.close()
        assert driver.ask("live") == live, "of three streams at once one ring is kept"


def test_two_thousand_frames_of_changing_shapes_stream_in_flat_memory(tmp_path, trt, driver, reference):
    source = (noise(4 + index // 40 % 7, 5 + index // 8 % 5, 3, seed=index % 5) for index in range(2000))
    peak = []
    with open_session(write_engine(tmp_path)) as session:
        for index, _ in enumerate(session.upscale_frames(source)):
            peak.append((driver.ask("live_bytes"), driver.ask("live")))
            assert index < 2000
        largest_lane = 10 * 9 * 3 * 5
        assert max(size for size, _ in peak) <= 4096 + 3 * largest_lane
        assert max(peak[1000:]) <= max(peak[:1000])
        [last] = session.upscale_frames([noise(8, 8, 3)])
        assert np.array_equal(last, reference(noise(1, 8, 8, 3))[0])
    assert len(peak) == 2000
    assert len(trt.work.waiting) < 2000, "captured runs alone are kept, for their graphs"


def spent(session: Session, driver: StandInDriver, count: int) -> int:
    """Virtual time of a stream of frames, where a copy takes 4 and the network 5."""
    driver.set_times(copy=4, work=5)
    assert len(list(session.upscale_frames(frames(count)))) == count
    return driver.ask("clock")


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_copies_and_computation_overlap(tmp_path, driver, flavour, cuda_graphs):
    """A GPU that copies in, computes and copies out side by side: the slowest of the three decides."""
    engine = write_engine(tmp_path, flavour=flavour)
    options = RunOptions(in_flight=3, cuda_graphs=cuda_graphs, kernel_cache=False)
    with EngineSession(engine, options) as session:
        spent(session, driver, 9)  # captures graphs
        assert spent(session, driver, 20) == 4 + 20 * 5 + 4
    with EngineSession(engine, replace(options, in_flight=1)) as session:
        spent(session, driver, 9)
        assert spent(session, driver, 20) == 20 * (4 + 5 + 4)


def test_frames_that_need_no_tiles_overlap_in_a_tiled_session_as_well(tmp_path, driver):
    """The command line makes every engine's session a tiled one."""
    with TiledSession(open_session(write_engine(tmp_path)), Tiling(64, 64, 8), always=False) as session:
        spent(session, driver, 9)
        assert spent(session, driver, 20) == 4 + 20 * 5 + 4


def test_the_tiles_of_one_image_after_another_use_one_ring(tmp_path, driver):
    with TiledSession(open_session(write_engine(tmp_path)), Tiling(16, 16, 4)) as session:
        images = [noise(1, 50, 40, 3, seed=seed) for seed in range(4)]
        session(images[0])
        live, allocations = driver.ask("live"), driver.ask("allocations")
        for image in images[1:]:
            session(image)
        assert (driver.ask("live"), driver.ask("allocations")) == (live, allocations)


def test_a_host_that_waits_for_every_copy_would_be_noticed(tmp_path, driver, monkeypatch):
    """The proof that the test above measures something."""
    plain = WorkStream.download

    def download(stream: WorkStream, host: np.ndarray, device: object) -> None:
        plain(stream, host, device)
        stream.synchronize()

    with EngineSession(write_engine(tmp_path), RunOptions(cuda_graphs=False)) as session:
        monkeypatch.setattr(WorkStream, "download", download)
        assert spent(session, driver, 20) == 20 * (4 + 5 + 4)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_an_exception_from_the_source_comes_after_the_results_before_it(tmp_path, driver, reference, in_flight):
    def broken() -> Iterator[np.ndarray]:
        yield from frames(4)
        raise OSError("the camera is gone")

    options = RunOptions(in_flight=in_flight, cuda_graphs=False)
    with open_session(write_engine(tmp_path), options=options) as session:
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


def test_a_call_between_frames_disturbs_nothing(tmp_path, reference):
    source, between = frames(12), noise(1, 8, 9, 3, seed=99)
    with open_session(write_engine(tmp_path)) as session:
        for frame, result in zip(source, session.upscale_frames(source), strict=True):
            assert np.array_equal(result, reference(frame[None])[0])
            assert np.array_equal(session(between), reference(between))


def test_a_refused_run_in_the_middle_stops_cleanly(tmp_path, trt, driver):
    with open_session(write_engine(tmp_path), options=RunOptions(cuda_graphs=False)) as session:
        before = driver.ask("live")
        list(session.upscale_frames(frames(10)))
        trt.faults.refused_enqueue = trt.enqueues + 4
        results: list[np.ndarray] = []
        with pytest.raises(DefianError, match="illegal memory access"):
            results.extend(session.upscale_frames(frames(10)))
        assert driver.ask("live") == before
        trt.faults.refused_enqueue = 0
        assert len(list(session.upscale_frames(frames(10)))) == 10


@pytest.mark.parametrize("noticed_by", ["a call", "the stream", "closing"])
def test_a_gpu_that_breaks_down_is_reported_and_everything_is_given_back(tmp_path, driver, noticed_by):
    """After an illegal access every wait fails, those of cleaning up too."""
    session = EngineSession(write_engine(tmp_path))
    running = session.upscale_frames(frames(10))
    if noticed_by != "a call":
        next(running)
    driver.break_down()
    notices = {"a call": lambda: session(noise(1, 8, 8, 3)), "the stream": lambda: next(running)}
    with pytest.raises(DefianError, match="CUDA driver failed at"):
        notices.get(noticed_by, session.close)()
    session.close()
    left = [driver.ask(name) for name in ("live", "contexts", "depth")]
    assert left == [0, 0, 0]


@pytest.mark.parametrize("count", [1, ALL])
def test_a_failing_allocation_in_any_position_of_the_ring_is_survived(tmp_path, driver, reference, count):
    source = [*frames(4), *frames(4, height=10)]
    with open_session(write_engine(tmp_path)) as session:
        driver.reset()
        list(session.upscale_frames(source))
        positions, failed, survived = driver.ask("allocations"), 0, 0
        assert positions > 40
    for position in range(1, positions + 1):
        with open_session(write_engine(tmp_path)) as session:
            driver.fail(position, count)
            results: list[np.ndarray] = []
            try:
                results.extend(session.upscale_frames(source))
            except DefianError as error:
                failed += "memory" in str(error)
            else:
                survived += 1
                assert len(results) == len(source)
            for frame, each in zip(source, results, strict=False):
                assert np.array_equal(each, reference(frame[None])[0])
            driver.fail(0)
            assert len(list(session.upscale_frames(source))) == len(source)
        assert driver.ask("live") == 0
    assert failed + survived == positions
    assert failed > (0 if count == 1 else 15)


def test_short_memory_gives_up_what_others_keep(tmp_path, driver, reference):
    """A stream takes the memory of the shapes that were called before, and a call that of a stream that has ended."""
    source, image = frames(6, height=50, width=50), noise(1, 40, 60, 3)
    with open_session(write_engine(tmp_path), options=RunOptions(in_flight=1)) as session:
        session(noise(1, 51, 50, 3))
        driver.set_memory(driver.ask("live_bytes") + 1000)
        for frame, result in zip(source, session.upscale_frames(source), strict=True):
            assert np.array_equal(result, reference(frame[None])[0])
        assert np.array_equal(session(image), reference(image))


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
