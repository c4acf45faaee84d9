"""The kernel on a device: loaded into the current CUDA context and launched on somebody's stream.

cuda-bindings does it, as pycuda cannot launch on a stream that it has not made itself. Every call works on the
context that is current, whoever made it. Nothing here allocates, copies or synchronises.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..device.bindings import cuda_bindings
from ..errors import DefianError
from .binary import kernel_images
from .launch import KERNELS, Features, LaunchPlan, block_of, plan

if TYPE_CHECKING:
    from collections.abc import Mapping

ARGUMENT_TYPES = (*(ctypes.c_void_p,) * 3, *(ctypes.c_int,) * 6)
TOOLKIT_HINT = (
    "Build with nvcc or NVRTC of the CUDA major version that the driver has (nvidia-smi shows it), "
    "or build the engine with: --eigen function"
)


@dataclass(frozen=True)
class Kernels:
    """The four kernels in one CUDA context. They live as long as that context does."""

    driver: Any
    functions: Mapping[str, Any]
    shared_limit: int

    def launch(self, features: Features, inputs: tuple[int, int], maps: int, stream: int) -> None:
        """Queue the kernel on ``stream``; asynchronous, and allowed while the stream is being captured.

        Args:
            features: shape, type and layout of the first input. An empty one launches nothing.
            inputs: device addresses of the features (16-byte aligned if channels-last) and the FP32 bias.
            maps: device address of the output, ``[N, 3, H, W]`` of the features' type.
            stream: the CUstream handle as an integer; 0 is the default stream.
        """
        chosen = plan(features, self.shared_limit)
        if chosen.blocks == 0 or features.channels == 0:
            return
        values = (
            *(*inputs, maps),
            *(features.batch, features.channels, features.height, features.width, chosen.pitch, chosen.vectors),
        )
        self._launch(chosen, values, stream)

    def _launch(self, chosen: LaunchPlan, values: tuple[int, ...], stream: int) -> None:
        _checked(
            self.driver,
            f"launching {chosen}",
            *self.driver.cuLaunchKernel(
                self.functions[chosen.kernel],
                *(chosen.blocks, 1, 1),
                *(chosen.threads, 1, 1),
                chosen.shared_bytes,
                self.driver.CUstream(stream),
                (values, ARGUMENT_TYPES),
                0,
            ),
        )


def cuda_driver() -> Any:  # noqa: ANN401 - an optional package
    """cuda-bindings' driver module.

    Raises:
        MissingPackageError: it is not installed.
    """
    return cuda_bindings("Running the eigenvalue plugin")


def load_kernels(driver: Any = None) -> Kernels:  # noqa: ANN401
    """Load the kernels into the current context, so that no later launch has anything left to load.

    Raises:
        DefianError: no context is current, no binary fits the device, or the driver refuses it.
    """
    driver = driver or cuda_driver()
    device = _checked(driver, "finding the current device (is a CUDA context current?)", *driver.cuCtxGetDevice())
    attribute = driver.CUdevice_attribute

    def ask(name: str) -> int:
        number = getattr(attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return _checked(driver, f"asking for {name}", *driver.cuDeviceGetAttribute(number, device))

    capability = (ask("COMPUTE_CAPABILITY_MAJOR"), ask("COMPUTE_CAPABILITY_MINOR"))
    limit = ask("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")
    library = _library(driver, capability)
    functions = {name: _function(driver, library, name, limit) for name in KERNELS}
    return Kernels(driver, functions, limit)


@functools.cache
def _library(driver: Any, capability: tuple[int, int]) -> Any:  # noqa: ANN401
    """The code, once per process: a CUlibrary belongs to no context and outlives every one of them.

    It is the first that the driver takes. With lazy loading it may take a library and refuse only its functions,
    so those are asked for as well.
    """
    attempts: list[str] = []
    hint = ""
    for place, read in kernel_images(capability):
        image = None
        try:
            if (image := read()) is None:
                attempts.append(f"{place}: nothing of this source")
                continue
            library = _checked(driver, "loading the code", *driver.cuLibraryLoadData(image, [], [], 0, [], [], 0))
            for name in KERNELS:
                _loaded(driver, library, name)
        except DefianError as error:
            attempts.append(f"{place}: {error.message}")
            hint = TOOLKIT_HINT if image else error.hint
        else:
            return library
    msg = f"The eigenvalue plugin has no kernel that runs on this device, sm_{capability[0]}{capability[1]}. Tried:"
    raise DefianError("\n  - ".join((msg, *attempts)), hint)


def _loaded(driver: Any, library: Any, name: str) -> Any:  # noqa: ANN401
    kernel = _checked(driver, f"finding {name}", *driver.cuLibraryGetKernel(library, name.encode()))
    function = _checked(driver, f"loading {name}", *driver.cuKernelGetFunction(kernel))
    _load_now(driver, function, name)
    return function


def _load_now(driver: Any, function: Any, name: str) -> None:  # noqa: ANN401
    """Leave nothing to lazy loading, as a first launch may be under capture. CUDA 12.4 and later can be asked to."""
    load = getattr(driver, "cuFuncLoad", None)
    if load is None:
        return
    try:
        (status,) = load(function)
    except RuntimeError:  # cuda-bindings: the driver is older and has no such function
        return
    if getattr(status, "name", "") != "CUDA_ERROR_NOT_SUPPORTED":
        _checked(driver, f"loading the code of {name}", status)


def _function(driver: Any, library: Any, name: str, shared_limit: int) -> Any:  # noqa: ANN401
    function = _loaded(driver, library, name)
    block = block_of(name)
    most = block.shared_bytes[block.vectors(shared_limit)]
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    _checked(driver, f"raising the shared memory of {name}", *driver.cuFuncSetAttribute(function, attribute, most))
    return function


def _checked(driver: Any, doing: str, status: Any, value: Any = None) -> Any:  # noqa: ANN401
    if status == driver.CUresult.CUDA_SUCCESS:
        return value
    raise DefianError(
        f"The eigenvalue plugin failed at {doing}: the CUDA driver answered {getattr(status, 'name', status)}.",
        "Check that the GPU is visible (nvidia-smi) and that the session's CUDA context is current.",
    )
