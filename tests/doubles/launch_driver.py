"""cuda-bindings' driver module as far as the plugin calls it; a launched kernel runs on the CPU kernel.

Device pointers are host addresses. The calls and their arguments are kept in ``calls``.
"""

from __future__ import annotations

import ctypes
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.export.plugin.cpu_kernel import CpuKernel, Options
from defian_edge.runtime.plugin.launch import Features

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Status(Enum):
    """Enough of CUresult."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_IMAGE = 200
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209
    CUDA_ERROR_NOT_SUPPORTED = 801


class DeviceAttribute(Enum):
    """Enough of CUdevice_attribute; the values are what the device answers."""

    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 8
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 7
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 166_912


class FunctionAttribute(Enum):
    """Enough of CUfunction_attribute."""

    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8


class LaunchDriver:
    """One context, one device of capability 8.7.

    ``refused`` are images that it does not load, ``unfit`` those that it loads and whose functions it does not have.
    """

    CUresult = Status
    CUdevice_attribute = DeviceAttribute
    CUfunction_attribute = FunctionAttribute

    def __init__(self, cpu_kernel: CpuKernel, *, context: bool = True) -> None:
        self.cpu_kernel = cpu_kernel
        self.context = context
        self.calls: list[tuple[Any, ...]] = []
        self.refused: set[bytes] = set()
        self.unfit: set[bytes] = set()

    def _answer(self, *call: Any) -> tuple[Any, ...]:  # noqa: ANN401
        self.calls.append(call)
        return (Status.CUDA_SUCCESS, call[-1])

    def CUstream(self, handle: int) -> int:  # noqa: N802
        return handle

    def cuCtxGetDevice(self) -> tuple[Any, ...]:  # noqa: N802
        return self._answer("device", 0) if self.context else (Status.CUDA_ERROR_INVALID_CONTEXT, None)

    def cuDeviceGetAttribute(self, attribute: DeviceAttribute, device: int) -> tuple[Any, ...]:  # noqa: N802
        return self._answer("attribute", device, attribute.value)

    def cuLibraryLoadData(self, image: bytes, *nothing: Any) -> tuple[Any, ...]:  # noqa: ANN401, N802
        assert nothing == ([], [], 0, [], [], 0)
        answer = self._answer("library", image)
        return (Status.CUDA_ERROR_INVALID_IMAGE, None) if image in self.refused else answer

    def cuLibraryGetKernel(self, library: bytes, name: bytes) -> tuple[Any, ...]:  # noqa: N802
        assert name in library
        return self._answer("kernel", "" if library in self.unfit else name.decode())

    def cuKernelGetFunction(self, kernel: str) -> tuple[Any, ...]:  # noqa: N802
        answer = self._answer("function", kernel)
        return answer if kernel else (Status.CUDA_ERROR_NO_BINARY_FOR_GPU, None)

    def cuFuncLoad(self, function: str) -> tuple[Any, ...]:  # noqa: N802
        return self._answer("loaded", function)[:1]

    def cuFuncSetAttribute(self, function: str, attribute: FunctionAttribute, value: int) -> tuple[Any, ...]:  # noqa: N802
        self.calls.append(("shared", function, attribute, value))
        return (Status.CUDA_SUCCESS,)

    def cuLaunchKernel(self, function: str, *arguments: Any) -> tuple[Any, ...]:  # noqa: ANN401, N802
        grid, block, (shared, stream, (values, types), extra) = arguments[:3], arguments[3:6], arguments[6:]
        self.calls.append(("launch", function, grid, block, shared, stream))
        assert extra == 0
        assert types == (*(ctypes.c_void_p,) * 3, *(ctypes.c_int,) * 6)
        features, bias, maps, batch, channels, height, width, pitch, vectors = values
        channels_last = function.endswith("channels_last")
        described = Features(batch, channels, height, width, fp16="_f16_" in function, channels_last=channels_last)
        assert described.pitch == pitch
        self.cpu_kernel.launch(
            described, (features, _at(bias, 9 * channels), maps), vectors, Options(0, 1, 0, grid[0], 0)
        )
        return (Status.CUDA_SUCCESS,)


def _at(address: int, count: int) -> NDArray[np.float32]:
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))
