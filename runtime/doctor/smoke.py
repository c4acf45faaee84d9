"""The smoke test, a child process: everything that is here is used once.

A picture goes through ONNX Runtime; the driver makes a context, and memory that is written and read back; pycuda opens
the GPU as sessions do; the plugin's kernel is loaded and run; and the engine that was named upscales a picture.
"""

from __future__ import annotations

import ctypes
import sys
import time
import warnings
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DefianError
from ..onnx_runtime import import_onnxruntime
from .probe import DRIVER
from .smoke_graph import SIDE, smoke_graph
from .steps import Skipped, carry_out_steps, leave

STEPS = ("onnxruntime", "onnxruntime cuda", "driver", "pycuda", "kernel", "engine")
SIZE = 1 << 20
"""Bytes that are allocated, written and read."""
CUDA = "CUDAExecutionProvider"
CHANNELS, PIXELS = 8, 24
"""Of the features that the kernel is given."""
REFUSED = "Who else is on the GPU, and what the driver said of it: nvidia-smi && sudo dmesg"
"""A question: the driver's number alone does not say what would cure it."""


def main(arguments: list[str]) -> None:
    """Run the steps: after which, or an empty one for all, and the engine's path if one is named."""
    after, *named = arguments or [""]
    works = (use_onnxruntime, use_onnxruntime_cuda, use_driver, use_pycuda, use_kernel)
    works = (*works, *(partial(use_engine, Path(path)) for path in named))
    carry_out_steps(list(zip(STEPS, works, strict=False)), after)
    leave()


def use_onnxruntime() -> str:
    """A picture through ONNX Runtime on the CPU."""
    return _through_onnxruntime("CPUExecutionProvider")


def use_onnxruntime_cuda() -> str:
    """The same on the GPU, where ONNX Runtime has CUDA and there is one."""
    onnxruntime = import_onnxruntime("A picture through ONNX Runtime")
    if CUDA not in onnxruntime.get_available_providers():
        raise Skipped("this ONNX Runtime is built without CUDA")
    _require_gpu()
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    return _through_onnxruntime(CUDA)


def _through_onnxruntime(provider: str) -> str:
    onnxruntime = import_onnxruntime("A picture through ONNX Runtime")
    if not hasattr(onnxruntime, "InferenceSession"):
        raise DefianError(
            "The Python package onnxruntime is empty: another of its kind was removed over it.",
            "pip install --force-reinstall onnxruntime",
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(smoke_graph(), options, providers=[provider])
    session.disable_fallback()
    used = session.get_providers()[0]
    if used != provider:
        raise DefianError(
            f"Expected {provider}, but ONNX Runtime can only use {used}.", "pip install 'onnxruntime-gpu[cuda]'"
        )
    picture = np.arange(SIDE * SIDE * 3).astype(np.uint8).reshape(1, SIDE, SIDE, 3)
    result = np.asarray(session.run(None, {session.get_inputs()[0].name: picture})[0])
    if not np.array_equal(result, picture):
        raise DefianError("ONNX Runtime computed a wrong picture.", "pip install --force-reinstall onnxruntime")
    return f"onnxruntime {onnxruntime.__version__}, {used}: {SIDE}x{SIDE} picture right"


def use_driver() -> str:
    """A context of the first GPU, and memory in it that is written and read back."""
    library = _require_gpu()
    context, memory = ctypes.c_void_p(), ctypes.c_uint64()
    sent = np.arange(SIZE).astype(np.uint8)
    back = np.zeros_like(sent)
    size = ctypes.c_size_t(SIZE)
    with ExitStack() as undo:
        _ask(library, "cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        undo.callback(library.cuDevicePrimaryCtxRelease_v2, 0)
        _ask(library, "cuCtxPushCurrent_v2", context)
        undo.callback(library.cuCtxPopCurrent_v2, ctypes.byref(ctypes.c_void_p()))
        _ask(library, "cuMemAlloc_v2", ctypes.byref(memory), size)
        undo.callback(library.cuMemFree_v2, memory)
        _ask(library, "cuMemcpyHtoD_v2", memory, ctypes.c_void_p(sent.ctypes.data), size)
        _ask(library, "cuMemcpyDtoH_v2", ctypes.c_void_p(back.ctypes.data), memory, size)
    if not np.array_equal(sent, back):
        raise DefianError("The GPU's memory gave back other bytes than were written.", "nvidia-smi -q -d ECC")
    return f"CUDA context, {SIZE >> 20} MiB written and read back"


def _require_gpu() -> ctypes.CDLL:
    """The driver's library, started.

    Raises:
        Skipped: there is no driver or no GPU; the rules say what is wrong with that.
    """
    try:
        library = ctypes.CDLL(DRIVER)
    except OSError as error:
        raise Skipped("there is no CUDA driver") from error
    count = ctypes.c_int()
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        raise Skipped("there is no GPU that the driver can use")
    return library


def _ask(library: ctypes.CDLL, name: str, *arguments: Any) -> None:  # noqa: ANN401
    status = getattr(library, name)(*arguments)
    if status != 0:
        raise DefianError(f"The CUDA driver answered {name} with {status}.", REFUSED)


def use_pycuda() -> str:
    """The GPU as an engine's session opens it."""
    from ..device.context import DeviceContext, driver_errors, import_pycuda

    _require_gpu()
    import_pycuda()
    device = DeviceContext()
    try:
        with device.current(), driver_errors(device.cuda, "allocating memory"):
            free, total = device.memory()
            device.cuda.mem_alloc(SIZE).free()
    finally:
        device.close()
    return f"{device.name}: {free >> 20} MiB of {total >> 20} MiB free"


def use_kernel(driver: Any = None) -> str:  # noqa: ANN401
    """The eigenvalue plugin's kernel, on features of zero, whose eigenvalues are zero.

    Args:
        driver: cuda-bindings' module, in tests another; with a context current.
    """
    from ..plugin.device import cuda_driver, load_kernels

    if driver is not None:
        _run_kernel(driver, load_kernels(driver))
        return "right"
    _require_gpu()
    driver = cuda_driver()
    driver.cuInit(0)
    status, device = driver.cuDeviceGet(0)
    status, context = driver.cuDevicePrimaryCtxRetain(device)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise DefianError(f"The CUDA driver answered cuDevicePrimaryCtxRetain with {status.name}.", REFUSED)
    driver.cuCtxPushCurrent(context)
    try:
        _run_kernel(driver, load_kernels(driver))
    finally:
        driver.cuCtxPopCurrent()
        driver.cuDevicePrimaryCtxRelease(device)
    return f"the eigenvalue kernel loaded and right at {PIXELS}x{PIXELS}"


def _run_kernel(driver: Any, kernels: Any) -> None:  # noqa: ANN401
    """With features of zero a pixel's filters are their biases: xx = yy = 3 and xy = 2 have the eigenvalue 5.

    Raises:
        DefianError: the driver refuses something, or another number comes out.
    """
    from ..plugin.launch import Features

    features = np.zeros((1, CHANNELS, PIXELS, PIXELS), np.float32)
    bias = np.empty((3, 3, CHANNELS), np.float32)
    bias[:, :2], bias[:, 2] = 3.0, 2.0
    maps = np.full((1, 3, PIXELS, PIXELS), np.nan, np.float32)
    memory: list[int] = []
    try:
        for array in (features, bias, maps):
            memory.append(_said_well(driver, "cuMemAlloc", array.nbytes))
            _said_well(driver, "cuMemcpyHtoD", memory[-1], array.ctypes.data, array.nbytes)
        described = Features(1, CHANNELS, PIXELS, PIXELS, fp16=False, channels_last=False)
        kernels.launch(described, (int(memory[0]), int(memory[1])), int(memory[2]), 0)
        _said_well(driver, "cuCtxSynchronize")
        _said_well(driver, "cuMemcpyDtoH", maps.ctypes.data, memory[2], maps.nbytes)
    finally:
        for address in memory:
            driver.cuMemFree(address)
    if not np.array_equal(maps, np.full_like(maps, 5.0)):
        raise DefianError(
            f"The eigenvalue kernel gave {maps.ravel()[0]:g} where 5 is right.",
            'rm -r "${DEFIAN_CACHE:-$HOME/.cache/defian-edge}/kernels" (it is compiled again)',
        )


def _said_well(driver: Any, name: str, *arguments: Any) -> Any:  # noqa: ANN401
    status, *values = getattr(driver, name)(*arguments)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise DefianError(f"The CUDA driver answered {name} with {status.name}.", REFUSED)
    return values[0] if values else None


def use_engine(path: Path) -> str:
    """A picture through the engine or graph that was named, opened as everybody opens it."""
    from ..session import open_session

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no reference pack is no fault of the device's
        session = open_session(path)
    try:
        profile = session.profile
        shape = (1, SIDE, SIDE) if profile is None else profile.nearest((1, SIDE, SIDE))
        begun = time.perf_counter()
        session(np.full((*shape, 3), 128, np.uint8))
        seconds = time.perf_counter() - begun
        return f"{'x'.join(map(str, shape))} picture in {seconds:.3f} s; {session.describe()}"
    finally:
        session.close()


if __name__ == "__main__":
    main(sys.argv[1:])
