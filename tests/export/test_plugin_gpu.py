"""The compiled kernel on a device against the reference. Skips, with a reason, where there is no GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from runtime.errors import DefianError
from runtime.plugin.device import load_kernels
from runtime.plugin.launch import Features
from tests.export.hessian_cases import SHAPES, random_case, reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from runtime.plugin.device import Kernels

pytestmark = pytest.mark.gpu


def answered(driver: Any, answer: tuple[Any, ...]) -> Any:  # noqa: ANN401
    assert answer[0] == driver.CUresult.CUDA_SUCCESS, answer
    return answer[1] if len(answer) > 1 else None


@pytest.fixture(scope="module")
def kernels() -> Iterator[Kernels]:
    driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    try:
        (status,) = driver.cuInit(0)
    except RuntimeError as error:
        pytest.skip(f"no CUDA driver: {error}")
    if status != driver.CUresult.CUDA_SUCCESS:
        pytest.skip(f"no GPU: {status.name}")
    device = answered(driver, driver.cuDeviceGet(0))
    context = answered(driver, driver.cuDevicePrimaryCtxRetain(device))
    answered(driver, driver.cuCtxPushCurrent(context))
    try:
        yield load_kernels()
    except DefianError as error:
        pytest.skip(str(error))
    finally:
        driver.cuCtxPopCurrent()
        driver.cuDevicePrimaryCtxRelease(device)


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
    expected = reference(features, bias)
    tolerance = 1e-3 if dtype is np.float16 else 1e-5
    np.testing.assert_allclose(
        maps.astype(np.float64), expected, rtol=tolerance, atol=0.1 * tolerance * np.abs(expected).max()
    )
