"""The CUDA driver through cuda-bindings: a context, memory, copies, and times taken by events. No PyTorch."""

from __future__ import annotations

import statistics
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin.device import cuda_driver
from defian_edge.selftest.protocol import CannotRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np


class Gpu:
    """The first GPU with its primary context, which is current from ``open_gpu`` to its end.

    Args:
        driver: ``cuda.bindings.driver``.
        device: the CUdevice.
    """

    def __init__(self, driver: Any, device: Any) -> None:  # noqa: ANN401 - an optional package
        self.driver = driver
        self._device = device
        self._memory = ExitStack()
        self.stream = self.ask("cuStreamCreate", driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
        self._memory.callback(self.ask, "cuStreamDestroy", self.stream)

    def ask(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401
        """Call a function of the driver; its result.

        Raises:
            CannotRun: this driver does not have the function.
            DefianError: it failed; the function is named.
        """
        try:
            status, *values = getattr(self.driver, name)(*arguments)
        except RuntimeError as error:  # cuda-bindings' word for a function that an older driver lacks
            raise CannotRun(f"This CUDA driver does not have {name}: {error}") from error
        if status == self.driver.CUresult.CUDA_ERROR_NOT_SUPPORTED:
            raise CannotRun(f"This CUDA driver does not support {name}.")
        if status != self.driver.CUresult.CUDA_SUCCESS:
            raise DefianError(f"The CUDA driver answered {name} with {status.name}.")
        return values[0] if len(values) == 1 else tuple(values)

    def attribute(self, name: str) -> int:
        """``CU_DEVICE_ATTRIBUTE_<name>``."""
        kind = getattr(self.driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self.ask("cuDeviceGetAttribute", kind, self._device))

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability, such as (9, 0)."""
        return self.attribute("COMPUTE_CAPABILITY_MAJOR"), self.attribute("COMPUTE_CAPABILITY_MINOR")

    def free_bytes(self) -> int:
        """Free memory of the device."""
        return int(self.ask("cuMemGetInfo")[0])

    def allocate(self, size: int) -> int:
        """Device memory until the end; its address."""
        address = self.ask("cuMemAlloc", size)
        self._memory.callback(self.ask, "cuMemFree", address)
        return int(address)

    def put(self, array: np.ndarray, address: int | None = None) -> int:
        """Copy an array in, into new memory if no address is given; its address."""
        where = self.allocate(array.nbytes) if address is None else address
        self.ask("cuMemcpyHtoD", where, array.ctypes.data, array.nbytes)
        return where

    def get(self, address: int, into: np.ndarray) -> np.ndarray:
        """Copy out; the array."""
        self.ask("cuMemcpyDtoH", into.ctypes.data, address, into.nbytes)
        return into

    def seconds(self, launches: Sequence[Callable[[], None]], repeats: int = 15) -> float:
        """Median seconds of one launch: all of them in one CUDA graph, replayed; between events.

        Args:
            launches: each queues work on ``self.stream``; give enough with memory of their own to outgrow the L2.
            repeats: replays that are timed, after three that are not.
        """
        mode = self.driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.ask("cuStreamBeginCapture", self.stream, mode)
        try:
            for launch in launches:
                launch()
        except BaseException:
            self.driver.cuStreamEndCapture(self.stream)  # or freeing memory would fail next, and hide what went wrong
            raise
        graph = self.ask("cuStreamEndCapture", self.stream)
        executable = self.ask("cuGraphInstantiate", graph, 0)
        begin, end = (self.ask("cuEventCreate", 0) for _ in range(2))
        taken = []
        try:
            for turn in range(3 + repeats):
                self.ask("cuEventRecord", begin, self.stream)
                self.ask("cuGraphLaunch", executable, self.stream)
                self.ask("cuEventRecord", end, self.stream)
                self.ask("cuEventSynchronize", end)
                if turn >= 3:
                    taken.append(self.ask("cuEventElapsedTime", begin, end) / 1e3 / len(launches))
        finally:
            for name, what in (("cuEventDestroy", begin), ("cuEventDestroy", end)):
                self.ask(name, what)
            self.ask("cuGraphExecDestroy", executable)
            self.ask("cuGraphDestroy", graph)
        return statistics.median(taken)

    def copy_bandwidth(self, size: int, pairs: int = 1) -> float:
        """Bytes per second, read and written, of copies of ``size`` bytes inside the device.

        Args:
            size: bytes of one copy.
            pairs: buffers that take turns, so that small copies do not stay in the L2.
        """
        buffers = [(self.allocate(size), self.allocate(size)) for _ in range(pairs)]

        def launch(source: int, target: int) -> Callable[[], None]:
            return lambda: self.ask("cuMemcpyDtoDAsync", target, source, size, self.stream)

        turns = max(1, 8 // pairs)
        return 2 * size / self.seconds([launch(*pair) for _ in range(turns) for pair in buffers])

    def close(self) -> None:
        """Free everything."""
        self._memory.close()


@contextmanager
def open_gpu() -> Iterator[Gpu]:
    """The first GPU, its primary context current.

    Raises:
        CannotRun: there is no driver or no GPU.
        MissingPackageError: cuda-bindings is not installed.
    """
    driver = cuda_driver()
    try:
        (status,) = driver.cuInit(0)
    except RuntimeError as error:
        raise CannotRun(f"There is no CUDA driver: {error}") from error
    if status != driver.CUresult.CUDA_SUCCESS:
        raise CannotRun(f"There is no usable GPU: the CUDA driver answered cuInit with {status.name}.")
    status, device = driver.cuDeviceGet(0)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise CannotRun(f"There is no GPU: the CUDA driver answered cuDeviceGet with {status.name}.")
    status, context = driver.cuDevicePrimaryCtxRetain(device)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise CannotRun(
            f"The GPU cannot be used: the CUDA driver answered cuDevicePrimaryCtxRetain with {status.name}."
        )
    driver.cuCtxPushCurrent(context)
    gpu = Gpu(driver, device)
    try:
        yield gpu
    finally:
        gpu.close()
        driver.cuCtxPopCurrent()
        driver.cuDevicePrimaryCtxRelease(device)


@contextmanager
def scratch(gpu: Gpu) -> Iterator[Gpu]:
    """The same GPU; what is allocated inside the block is freed at its end."""
    inner = Gpu(gpu.driver, gpu._device)  # noqa: SLF001 - the same class
    try:
        yield inner
    finally:
        inner.close()
