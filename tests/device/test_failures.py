"""Whatever fails in whatever place, a call and a stream of frames survive it or say so, and leave nothing."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.session import open_session
from tests.device.engines import frames, noise, write_engine
from tests.doubles.standin_driver import ALL

pytestmark = pytest.mark.usefixtures("trt")


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("count", [1, ALL])
def test_a_failing_allocation_in_any_position_is_survived_and_leaves_nothing(
    tmp_path, driver, reference, flavour, count
):
    engine, images = write_engine(tmp_path, flavour=flavour), noise(1, 8, 8, 3)

    def use() -> list[np.ndarray]:
        with open_session(engine, backend=EngineBackend(kernel_cache=False)) as session:
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


def test_a_refused_run_leaves_nothing_under_way(tmp_path, trt):
    trt.faults.refused_enqueue = 1
    with open_session(write_engine(tmp_path)) as session, pytest.raises(DefianError, match="running the engine"):
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


def test_a_refused_run_in_the_middle_stops_cleanly(tmp_path, trt, driver):
    with open_session(write_engine(tmp_path), backend=EngineBackend(cuda_graphs=False)) as session:
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
    with open_session(write_engine(tmp_path), backend=EngineBackend(in_flight=1)) as session:
        session(noise(1, 51, 50, 3))
        driver.set_memory(driver.ask("live_bytes") + 1000)
        for frame, result in zip(source, session.upscale_frames(source), strict=True):
            assert np.array_equal(result, reference(frame[None])[0])
        assert np.array_equal(session(image), reference(image))
