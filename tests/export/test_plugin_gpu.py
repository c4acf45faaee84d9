"""The compiled kernel on a device against the reference. Skips, with a reason, where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin.device import cuda_driver, load_kernels
from defian_edge.runtime.plugin.launch import Features
from tests.conftest import REPOSITORY
from tests.export.hessian_cases import SHAPES, random_case, reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from defian_edge.runtime.plugin.device import Kernels

pytestmark = pytest.mark.gpu


def answered(driver: Any, answer: tuple[Any, ...]) -> Any:  # noqa: ANN401
    assert answer[0] == driver.CUresult.CUDA_SUCCESS, answer
    return answer[1] if len(answer) > 1 else None


@contextmanager
def primary_context(driver: Any) -> Iterator[None]:  # noqa: ANN401
    device = answered(driver, driver.cuDeviceGet(0))
    context = answered(driver, driver.cuDevicePrimaryCtxRetain(device))
    answered(driver, driver.cuCtxPushCurrent(context))
    try:
        yield
    finally:
        driver.cuCtxPopCurrent()
        driver.cuDevicePrimaryCtxRelease(device)


@pytest.fixture(scope="module")
def kernels() -> Iterator[Kernels]:
    driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    try:
        (status,) = driver.cuInit(0)
    except RuntimeError as error:
        pytest.skip(f"no CUDA driver: {error}")
    if status != driver.CUresult.CUDA_SUCCESS:
        pytest.skip(f"no GPU: {status.name}")
    with primary_context(driver):
        try:
            loaded = load_kernels()
        except DefianError as error:
            pytest.skip(str(error))
        yield loaded


def run_on_device(
    kernels: Kernels, features: NDArray[Any], bias: NDArray[np.float32], *, channels_last: bool, captured: bool
) -> NDArray[Any]:
    """Copy in, launch (by itself, or captured in a graph and replayed), copy out."""
    driver = kernels.driver
    described = Features(*features.shape, fp16=features.dtype == np.float16, channels_last=channels_last)
    stored = features
    if channels_last:
        batch, channels, height, width = features.shape
        stored = np.full((batch, height, width, described.pitch), np.nan, features.dtype)
        stored[..., :channels] = features.transpose(0, 2, 3, 1)
    stored = np.ascontiguousarray(stored)
    maps = np.full((features.shape[0], 3, *features.shape[2:]), np.nan, features.dtype)
    buffers = [answered(driver, driver.cuMemAlloc(array.nbytes)) for array in (stored, bias, maps)]
    stream = answered(driver, driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
    try:
        for buffer, array in zip(buffers, (stored, bias, maps), strict=True):
            answered(driver, driver.cuMemcpyHtoD(buffer, array.ctypes.data, array.nbytes))
        if captured:
            mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_GLOBAL
            answered(driver, driver.cuStreamBeginCapture(stream, mode))
        addresses = [int(buffer) for buffer in buffers]
        kernels.launch(described, (addresses[0], addresses[1]), addresses[2], int(stream))
        if captured:
            graph = answered(driver, driver.cuStreamEndCapture(stream))
            executable = answered(driver, driver.cuGraphInstantiate(graph, 0))
            answered(driver, driver.cuGraphLaunch(executable, stream))
        answered(driver, driver.cuStreamSynchronize(stream))
        answered(driver, driver.cuMemcpyDtoH(maps.ctypes.data, buffers[2], maps.nbytes))
    finally:
        for buffer in buffers:
            driver.cuMemFree(buffer)
        driver.cuStreamDestroy(stream)
    return maps


@pytest.mark.parametrize("captured", [False, True], ids=["launched", "captured"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["linear", "channels-last"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_the_device_gives_the_reference(
    kernels: Kernels, shape: tuple[int, int, int, int], dtype: type, channels_last: bool, captured: bool
) -> None:
    features, bias = random_case(shape)
    features = features.astype(dtype)
    maps = run_on_device(kernels, features, bias, channels_last=channels_last, captured=captured)
    assert_close(maps, features, bias)


def assert_close(maps: NDArray[Any], features: NDArray[Any], bias: NDArray[np.float32]) -> None:
    expected = reference(features, bias)
    tolerance = 1e-3 if maps.dtype == np.float16 else 1e-5
    np.testing.assert_allclose(
        maps.astype(np.float64), expected, rtol=tolerance, atol=0.1 * tolerance * np.abs(expected).max()
    )


def capture_first() -> None:
    """Every kernel's first launch in this process is under capture."""
    driver = cuda_driver()
    answered(driver, driver.cuInit(0))
    with primary_context(driver):
        kernels = load_kernels(driver)
        for dtype in (np.float32, np.float16):
            for channels_last in (False, True):
                features, bias = random_case((1, 32, 17, 23))
                features = features.astype(dtype)
                maps = run_on_device(kernels, features, bias, channels_last=channels_last, captured=True)
                assert_close(maps, features, bias)


@pytest.mark.usefixtures("kernels")
def test_a_fresh_process_with_lazy_loading_may_capture_before_it_launches() -> None:
    source = "from tests.export.test_plugin_gpu import capture_first; capture_first()"
    environment = {**os.environ, "CUDA_MODULE_LOADING": "LAZY", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", source], check=False, capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
