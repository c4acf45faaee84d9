"""One call on an engine: pixels, preflight, errors, threads, and nothing left behind."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]
import pytest

from runtime.device import context
from runtime.device.streams import WorkStream
from runtime.engine.session import EngineSession, RunOptions
from runtime.errors import DefianError
from runtime.session import open_session
from tests.device.engines import COMMAND, PROFILE, noise, write_engine
from tests.doubles.standin_driver import ALL

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("trt")


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_an_engine_gives_the_graphs_pixels_for_every_shape_and_batch(tmp_path, reference, flavour, cuda_graphs):
    engine = write_engine(tmp_path, flavour=flavour)
    with open_session(engine, options=RunOptions(cuda_graphs=cuda_graphs, kernel_cache=False)) as session:
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
    with EngineSession(write_engine(tmp_path), RunOptions(cuda_graphs=False)) as session:
        with monkeypatch.context() as broken:
            broken.setattr(WorkStream, "synchronize", lambda _: None)
            with pytest.raises(DefianError, match="not ready"):  # nor can the events tell the time
                session(images)
            stale = session._lanes.get((1, 8, 8)).buffers.host_out.copy()
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
        largest_lane = 10 * 9 * 3 * 5 + 4096
        assert max(size for size, _ in peak) <= 4096 + 4 * largest_lane
        assert max(peak[1000:]) <= max(peak[:1000])
        images = noise(1, 9, 9, 3)
        assert np.array_equal(session(images), reference(images))
    assert len(trt.work.waiting) < 50


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("count", [1, ALL])
def test_a_failing_allocation_in_any_position_is_survived_and_leaves_nothing(
    tmp_path, driver, reference, flavour, count
):
    engine, images = write_engine(tmp_path, flavour=flavour), noise(1, 8, 8, 3)

    def use() -> list[np.ndarray]:
        with open_session(engine, options=RunOptions(kernel_cache=False)) as session:
            return [session(images) for _ in range(3)]

    use()
    positions, failed, survived = driver.ask("allocations"), 0, 0
    assert positions >= 10
    for position in range(1, positions + 1):
        driver.reset()
        driver.fail(position, count)
        try:
            results = use()
        except DefianError as error:
            failed += "memory" in str(error)
        else:  # only what is optional failed: the CUDA graph
            survived += all(np.array_equal(result, reference(images)) for result in results)
        assert (driver.ask("live"), driver.ask("contexts"), driver.ask("depth")) == (0, 0, 0), position
        driver.fail(0)
        assert np.array_equal(use()[2], reference(images))
    assert failed + survived == positions
    assert failed >= (positions - 2 if count == ALL else positions / 2)


def test_a_session_in_difficulties_keeps_working_afterwards(tmp_path, trt, driver, reference):
    images, other = noise(1, 8, 8, 3), noise(1, 9, 9, 3)
    with open_session(write_engine(tmp_path)) as session:
        session(images)
        driver.fail(1)
        with pytest.raises(DefianError, match="no memory left for upscaling 1x9x9"):
            session(other)
        driver.fail(0)
        trt.faults.refused_enqueue = trt.enqueues + 1
        with pytest.raises(DefianError, match=r"running the engine.*illegal memory access"):
            session(other)
        trt.faults.refused_enqueue = 0
        assert np.array_equal(session(other), reference(other))


def test_short_memory_gives_up_other_shapes_before_it_fails(tmp_path, driver, reference):
    with open_session(write_engine(tmp_path)) as session:
        session(noise(1, 40, 40, 3))
        driver.set_memory(driver.ask("live_bytes") + 1000)
        images = noise(1, 39, 40, 3)
        assert np.array_equal(session(images), reference(images))


MISFITS = {
    "version": ({"version": "10.16.1"}, r"expected tensorrt 10.16.1.*found 10.3.0[\s\S]*python export.py"),
    "device": ({"compute_capability": "7.5"}, r"capability 7.5, found stand-in GPU with 8.9[\s\S]*on this GPU: "),
    "memory": ({"activation_bytes": 1 << 40}, r"expected 1048577 MiB of free GPU memory, found 8192 MiB"),
    "flavour": ({"flavour": "onnx"}, "Expected an engine of tensorrt or tensorrt-rtx, found .*'onnx'"),
    "float": ({"io": "float"}, r"expected uint8 I/O, found float[\s\S]*--io uint8"),
    "plugin": ({"plugins": ("other::Op/1",)}, "other::Op/1"),
    "no profile": ({"profile": None}, "expected the manifest of an engine, found one without profile"),
    "damaged": ({"plan": b"garbage"}, r"damaged or is no plan. It said: .*magicTag"),
    "hash": ({"sha256": "0" * 64}, "expected SHA-256"),
    "scale": ({"scale": 3}, "manifest's scale"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_an_engine_that_does_not_fit_is_refused_with_expected_found_and_the_way_out(tmp_path, trt, name):
    changes, message = MISFITS[name]
    engine = write_engine(tmp_path, **changes)
    with pytest.raises(DefianError, match=message) as raised, open_session(engine) as session:
        session(noise(1, 8, 8, 3))
    assert COMMAND in raised.value.hint
    assert name in {"damaged", "scale"} or not trt.loggers, "refused before TensorRT was started"


@pytest.mark.parametrize("integrated", [True, False])
def test_a_gpu_in_the_systems_memory_may_have_what_is_file_cache(tmp_path, driver, monkeypatch, integrated):
    """On a Jetson a large file that was just copied makes memory look used that any program can have."""
    monkeypatch.setattr(context, "available_system_memory", lambda: 70 << 20)
    engine = write_engine(tmp_path, activation_bytes=40 << 20)
    driver.set_memory(80 << 20)
    driver.set_integrated(integrated=integrated)
    used = cuda_memory(60 << 20)
    with used if integrated else contextlib.ExitStack():
        open_session(engine).close()
    if not integrated:
        with used, pytest.raises(DefianError, match="expected 41 MiB of free GPU memory, found 20 MiB of 80"):
            open_session(engine)


@contextlib.contextmanager
def cuda_memory(size: int) -> Iterator[None]:
    """Somebody else's device memory."""
    cuda.init()
    other = cuda.Device(0).retain_primary_context()
    other.push()
    memory = cuda.mem_alloc(size)
    cuda.Context.pop()
    yield
    other.push()
    memory.free()
    cuda.Context.pop()
    other.detach()
    ctypes.CDLL("libcuda.so.1").cuCtxPopCurrent_v2(None)


def test_what_linux_calls_available_is_read(tmp_path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:        8000 kB\nMemFree:          10 kB\nMemAvailable:    5000 kB\nBuffers: 7 kB\n")
    assert context.available_system_memory(told) == 5000 * 1024
    assert context.available_system_memory(tmp_path / "none") == 0
    assert context.available_system_memory() > 1 << 20


def test_a_refused_context_is_translated(tmp_path, trt):
    trt.faults.refused_contexts = True
    with pytest.raises(DefianError, match="too little free memory"), open_session(write_engine(tmp_path)) as session:
        session(noise(1, 8, 8, 3))


@pytest.mark.parametrize(("shape", "nearest"), [((1, 65, 8, 3), "1x64x8"), ((3, 2, 99, 3), "2x4x64")])
def test_a_shape_outside_the_profile_names_the_nearest_that_fits(tmp_path, shape, nearest):
    with (
        open_session(write_engine(tmp_path)) as session,
        pytest.raises(DefianError, match=f"nearest that fits is {nearest}"),
    ):
        session(noise(*shape))


def test_a_shape_that_will_be_asked_for_is_checked_before_anything_is_loaded(tmp_path, trt):
    with pytest.raises(DefianError, match="nearest that fits is 1x64x8"):
        open_session(write_engine(tmp_path), shape=(1, 65, 8))
    assert not trt.loggers
    open_session(write_engine(tmp_path), shape=(1, 64, 8)).close()


@pytest.mark.parametrize("first_closed", [0, 1])
def test_two_sessions_of_one_thread_do_not_disturb_each_other(tmp_path, reference, first_closed):
    images = noise(1, 8, 8, 3)
    engines = [write_engine(tmp_path / name, flavour=name) for name in ("tensorrt", "tensorrt-rtx")]
    sessions = [open_session(engine, options=RunOptions(kernel_cache=False)) for engine in engines]
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


def test_images_of_another_type_are_refused(tmp_path):
    with open_session(write_engine(tmp_path)) as session, pytest.raises(DefianError, match="Expected uint8"):
        session(noise(1, 8, 8, 3).astype(np.float32))


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


def test_a_refused_run_leaves_nothing_under_way(tmp_path, trt):
    trt.faults.refused_enqueue = 1
    with open_session(write_engine(tmp_path)) as session, pytest.raises(DefianError, match="running the engine"):
        session(noise(1, 8, 8, 3))


def test_a_closed_session_says_so_and_closing_twice_is_harmless(tmp_path):
    session = open_session(write_engine(tmp_path))
    session.close()
    session.close()
    with pytest.raises(DefianError, match="closed"):
        session(noise(1, 8, 8, 3))


def test_an_error_in_the_with_block_leaves_nothing(tmp_path, driver):
    def use() -> None:
        with open_session(write_engine(tmp_path)) as session:
            session(noise(1, 8, 8, 3))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as held:
        use()
    assert held.value.__traceback__ is not None
    assert driver.ask("live") == 0


@pytest.mark.parametrize("used_by", ["nobody", "a call", "a stream"])
def test_a_session_that_is_dropped_unclosed_warns_and_frees_everything(tmp_path, driver, used_by):
    def use() -> None:
        session = open_session(write_engine(tmp_path))
        if used_by == "a call":
            session(noise(1, 8, 8, 3))
        elif used_by == "a stream":
            next(session.upscale_frames([noise(8, 8, 3)] * 5))
        del session
        gc.collect()

    with pytest.warns(ResourceWarning, match=r"tiny\.fp32\.engine: this session was never closed"):
        use()
    assert [driver.ask(name) for name in ("live", "contexts", "depth")] == [0, 0, 0]


@pytest.mark.parametrize("options", [{"shapes": 0}, {"in_flight": 0}, {"device": -1}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(DefianError, match="Expected at least 1 shape"):
        RunOptions(**options)


def test_a_gpu_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DefianError, match=r"opening GPU 3: .*invalid device ordinal"):
        open_session(write_engine(tmp_path), options=RunOptions(device=3))


def test_the_device_is_timed_with_events(tmp_path):
    with EngineSession(write_engine(tmp_path)) as session:
        assert session.timings() == {}
        session(noise(1, 32, 32, 3))
        spent = session.timings()
        assert set(spent) == {"enqueue", "h2d", "compute", "d2h"}
        assert spent["compute"] > spent["h2d"] >= 0
        assert 1e-7 < spent["enqueue"] < 10
