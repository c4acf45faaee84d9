"""One call on an engine: pixels, memory, threads, contexts, time, and nothing left behind."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from pathlib import Path

import numpy as np
import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]
import pytest

from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.device.streams import WorkStream
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.session import open_session
from tests.device.engines import PROFILE, noise, write_engine

pytestmark = pytest.mark.usefixtures("trt")


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_an_engine_gives_the_graphs_pixels_for_every_shape_and_batch(tmp_path, reference, flavour, cuda_graphs):
    engine = write_engine(tmp_path, flavour=flavour)
    with open_session(engine, backend=EngineBackend(cuda_graphs=cuda_graphs, kernel_cache=False)) as session:
        for turn in range(4):
            for shape in ((1, 9, 11, 3), (2, 16, 5, 3), (1, 64, 64, 3)):
                images = noise(*shape, seed=turn)
                assert np.array_equal(session(images), reference(images)), (turn, shape)
                mirrored = images[:, ::-1, ::-1]
                assert np.array_equal(session(mirrored), reference(np.ascontiguousarray(mirrored)))
        assert session.profile == PROFILE
        assert flavour in session.describe()


def test_a_result_stays_as_it_was_when_the_buffers_are_used_again(tmp_path, reference):
    first, second = noise(1, 8, 8, 3, seed=1), noise(1, 8, 8, 3, seed=2)
    with open_session(write_engine(tmp_path)) as session:
        kept = session(first)
        session(second)
    assert np.array_equal(kept, reference(first))


def test_a_missing_synchronisation_gives_wrong_pixels_here(tmp_path, reference, monkeypatch):
    """The proof that the tests above would notice: without the wait the result is whatever was in the buffer."""
    images = noise(1, 8, 8, 3)
    with EngineSession(write_engine(tmp_path), EngineBackend(cuda_graphs=False)) as session:
        with monkeypatch.context() as broken:
            broken.setattr(WorkStream, "synchronize", lambda _: None)
            with pytest.raises(DefianError, match="not ready"):  # nor can the events tell the time
                session(images)
            stale = session._shape_contexts.get((1, 8, 8)).buffers.host_out.copy()
        assert not np.array_equal(stale, reference(images))
        assert np.array_equal(session(images), reference(images))


def test_copies_go_through_pinned_memory_only(tmp_path, driver):
    with open_session(write_engine(tmp_path)) as session:
        session(noise(1, 8, 8, 3))
    assert driver.ask("pageable_copies") == 0


def test_a_shape_that_comes_back_allocates_nothing(tmp_path, driver):
    with open_session(write_engine(tmp_path)) as session:
        for _ in range(3):
            session(noise(1, 8, 8, 3))
        before = driver.ask("allocations")
        session(noise(1, 8, 8, 3))
        assert driver.ask("allocations") == before


def test_two_thousand_frames_of_changing_shapes_hold_memory_flat(tmp_path, trt, driver, reference):
    shapes = [(1, 4 + index % 7, 5 + index % 5, 3) for index in range(2000)]
    peak, resident = [], []
    with open_session(write_engine(tmp_path)) as session:
        for index, shape in enumerate(shapes):
            session(noise(*shape, seed=index))
            peak.append((driver.ask("live_bytes"), driver.ask("live")))
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
        assert max(resident[1000:]) - max(resident[:1000]) < 8 << 20, "nor does the process itself grow"
        largest_shape_context = 10 * 9 * 3 * 5 + 4096
        assert max(size for size, _ in peak) <= 4096 + 4 * largest_shape_context
        assert max(peak[1000:]) <= max(peak[:1000])
        images = noise(1, 9, 9, 3)
        assert np.array_equal(session(images), reference(images))
    assert len(trt.work.waiting) < 50


@pytest.mark.parametrize("first_closed", [0, 1])
def test_two_sessions_of_one_thread_do_not_disturb_each_other(tmp_path, reference, first_closed):
    images = noise(1, 8, 8, 3)
    engines = [write_engine(tmp_path / name, flavour=name) for name in ("tensorrt", "tensorrt-rtx")]
    sessions = [open_session(engine, backend=EngineBackend(kernel_cache=False)) for engine in engines]
    streams = [session.upscale_frames([images[0]] * 9) for session in sessions]
    for _ in range(4):
        for session, stream in zip(sessions, streams, strict=True):
            assert np.array_equal(session(images), reference(images))
            assert np.array_equal(next(stream), reference(images)[0])
    sessions.pop(first_closed).close()
    streams.pop(first_closed)
    assert np.array_equal(sessions[0](images), reference(images))
    assert len(list(streams[0])) == 5
    sessions[0].close()


def test_a_second_thread_gets_a_clear_error_or_a_session_of_its_own(tmp_path, reference):
    engine, images = write_engine(tmp_path), noise(1, 16, 16, 3)
    outcomes: list[object] = []

    def elsewhere(session: EngineSession) -> None:
        for attempt in (lambda: session(images), session.close):
            try:
                attempt()
            except DefianError as error:
                outcomes.append(str(error))
        with open_session(engine) as own:
            outcomes.append(all(np.array_equal(own(images), reference(images)) for _ in range(5)))

    with EngineSession(engine) as session:
        thread = threading.Thread(target=elsewhere, args=(session,), name="worker")
        thread.start()
        for _ in range(5):
            assert np.array_equal(session(images), reference(images))
        thread.join()
    assert len(outcomes) == 3
    assert all("'MainThread' and was called from 'worker'" in str(each) for each in outcomes[:2])
    assert outcomes[2] is True


@pytest.mark.parametrize("by", ["pycuda", "somebody else"])
def test_another_context_of_the_thread_is_current_again_after_every_call(tmp_path, driver, by):
    cuda.init()
    other = cuda.Device(0).retain_primary_context()
    if by == "pycuda":
        other.push()
    else:  # as PyTorch does, past pycuda's own stack
        driver.push(other.handle)
    with open_session(write_engine(tmp_path)) as session:
        for _ in range(2):
            assert driver.ask("depth") == 1
            session(noise(1, 8, 8, 3))
    assert driver.ask("depth") == 1
    if by == "pycuda":
        cuda.mem_alloc(16).free()
        cuda.Context.pop()
    else:
        driver.pop()
    other.detach()
    driver.pop()


def test_no_stream_stands_in_line_with_the_default_stream_where_others_work(tmp_path, driver):
    with open_session(write_engine(tmp_path)) as session:
        next(session.upscale_frames([noise(8, 8, 3)] * 5))
        assert driver.ask("blocking_streams") == 0
        others = cuda_stream()
        assert driver.ask("blocking_streams") == 1
        others.close()


def cuda_stream() -> contextlib.ExitStack:
    """A stream of somebody else's with pycuda's default flags."""
    held = contextlib.ExitStack()
    context_of_others = cuda.Device(0).retain_primary_context()
    context_of_others.push()
    streams = [cuda.Stream()]
    cuda.Context.pop()
    held.callback(ctypes.CDLL("libcuda.so.1").cuCtxPopCurrent_v2, None)
    held.callback(context_of_others.detach)
    held.callback(streams.clear)
    return held


def test_a_closed_session_says_so_and_closing_twice_is_harmless(tmp_path):
    session = open_session(write_engine(tmp_path))
    session.close()
    session.close()
    with pytest.raises(DefianError, match="closed"):
        session(noise(1, 8, 8, 3))


def test_the_device_is_timed_with_events(tmp_path):
    with EngineSession(write_engine(tmp_path)) as session:
        assert session.timings() == {}
        session(noise(1, 32, 32, 3))
        spent = session.timings()
        assert set(spent) == {"enqueue", "h2d", "compute", "d2h"}
        assert spent["compute"] > spent["h2d"] >= 0
        assert 1e-7 < spent["enqueue"] < 10
