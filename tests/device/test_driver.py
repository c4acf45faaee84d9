"""The stand-in driver behaves as CUDA does, seen through the real pycuda and the real cuda-bindings."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]
import pytest
from cuda.bindings import driver as bindings  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(autouse=True)
def context():
    cuda.init()
    held = cuda.Device(0).retain_primary_context()
    held.push()
    yield
    gc.collect()
    cuda.Context.pop()
    held.detach()
    ctypes.CDLL("libcuda.so.1").cuCtxPopCurrent_v2(None)


def pinned(count: int, value: int = 0) -> np.ndarray:
    array = cuda.pagelocked_empty(count, np.uint8)
    array[:] = value
    return array


def test_arrays_come_back_from_the_device_unchanged():
    values = np.arange(1000, dtype=np.float32)
    memory = cuda.mem_alloc(values.nbytes)
    cuda.memcpy_htod(memory, values)
    back = np.empty_like(values)
    cuda.memcpy_dtoh(back, memory)
    assert np.array_equal(values, back)


def test_a_copy_on_a_stream_has_not_happened_before_the_stream_is_synchronised():
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    source, target = pinned(16, 7), pinned(16, 1)
    cuda.memcpy_htod_async(memory, source, stream)
    cuda.memcpy_dtoh_async(target, memory, stream)
    assert not stream.is_done()
    assert set(target) == {1}
    stream.synchronize()
    assert set(target) == {7}


def test_a_stream_that_waits_for_an_event_sees_the_other_streams_work():
    first, second, copied = cuda.Stream(), cuda.Stream(), cuda.Event()
    memory, source, target = cuda.mem_alloc(16), pinned(16, 9), pinned(16, 1)
    cuda.memcpy_htod_async(memory, source, first)
    copied.record(first)
    second.wait_for_event(copied)
    cuda.memcpy_dtoh_async(target, memory, second)
    second.synchronize()
    assert set(target) == {9}


def test_events_have_the_time_of_their_execution():
    stream, start, end = cuda.Stream(), cuda.Event(), cuda.Event()
    start.record(stream)
    end.record(stream)
    with pytest.raises(cuda.Error):
        end.time_since(start)
    end.synchronize()
    assert 0 <= end.time_since(start) < 1000


def test_overruns_foreign_pointers_and_lack_of_memory_are_errors(driver):
    memory = cuda.mem_alloc(16)
    with pytest.raises(cuda.LogicError):
        cuda.memcpy_htod(memory, np.zeros(17, np.uint8))
    driver.set_memory(100)
    with pytest.raises(cuda.MemoryError):
        cuda.mem_alloc(101)


def test_the_chosen_allocation_and_all_after_it_fail(driver):
    driver.fail(2)
    kept = cuda.mem_alloc(16)
    for _ in range(2):
        with pytest.raises(cuda.MemoryError):
            cuda.mem_alloc(16)
    driver.fail(0)
    assert driver.ask("live") == 1
    del kept
    assert driver.ask("live") == 0


def test_memory_freed_while_a_copy_needs_it_is_counted_as_misuse(driver):
    stream, memory, source = cuda.Stream(), cuda.mem_alloc(16), pinned(16)
    cuda.memcpy_htod_async(memory, source, stream)
    memory.free()
    assert driver.ask("misuses") == 1
    stream.synchronize()
    driver.library.standin_reset_counters()


def answered(answer: tuple[Any, ...]) -> Any:  # noqa: ANN401
    assert answer[0] == bindings.CUresult.CUDA_SUCCESS, answer
    return answer[1] if len(answer) > 1 else None


def test_cuda_bindings_captures_a_stream_of_pycudas_and_replays_it():
    stream, memory = cuda.Stream(), cuda.mem_alloc(4)
    source, target = pinned(4, 3), pinned(4, 1)
    handle = bindings.CUstream(stream.handle)
    answered(bindings.cuStreamBeginCapture(handle, bindings.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
    cuda.memcpy_htod_async(memory, source, stream)
    cuda.memcpy_dtoh_async(target, memory, stream)
    graph = answered(bindings.cuStreamEndCapture(handle))
    executable = answered(bindings.cuGraphInstantiate(graph, 0))
    stream.synchronize()
    assert set(target) == {1}, "a capture runs nothing"
    for value in (3, 4):
        source[:] = value
        answered(bindings.cuGraphLaunch(executable, handle))
        stream.synchronize()
        assert set(target) == {value}
    answered(bindings.cuGraphExecDestroy(executable))
    answered(bindings.cuGraphDestroy(graph))


def test_synchronising_or_allocating_during_a_capture_spoils_it():
    stream = cuda.Stream()
    handle = bindings.CUstream(stream.handle)
    answered(bindings.cuStreamBeginCapture(handle, bindings.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
    with pytest.raises(cuda.Error):
        cuda.mem_alloc(16)
    status, _ = bindings.cuStreamEndCapture(handle)
    assert status == bindings.CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED


def test_what_the_stand_in_does_not_implement_says_so():
    with pytest.raises(cuda.Error):
        cuda.Device(0).pci_bus_id()
