"""What does not fit is refused before TensorRT is started, with what was expected, what was found and the way out."""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING

import numpy as np
import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]
import pytest

from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.device import context
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.session import open_session
from tests.device.engines import COMMAND, noise, write_engine

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.usefixtures("trt")


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


def test_images_of_another_type_are_refused(tmp_path):
    with open_session(write_engine(tmp_path)) as session, pytest.raises(DefianError, match="Expected uint8"):
        session(noise(1, 8, 8, 3).astype(np.float32))


@pytest.mark.parametrize("options", [{"shapes": 0}, {"in_flight": 0}, {"device": -1}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(DefianError, match="Expected at least 1 shape"):
        EngineBackend(**options)


def test_a_gpu_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DefianError, match=r"opening GPU 3: .*invalid device ordinal"):
        open_session(write_engine(tmp_path), backend=EngineBackend(device=3))
