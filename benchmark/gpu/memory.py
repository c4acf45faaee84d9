"""How much of the GPU's memory one artefact takes: what the driver has less of than before it was loaded."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.runtime.device.context import DeviceContext, driver_errors
from defian_edge.runtime.device.nvml import open_nvml

if TYPE_CHECKING:
    from defian_edge.runtime.device.nvml import Nvml


@dataclass(frozen=True)
class DeviceMemory:
    """GPU memory of a process that loads and runs one artefact, bytes.

    Attributes:
        loaded, peak: after loading, and the most after loading or any run. Without the CUDA context; what other
            programs take or give back at the same time is in it.
        process: all that the driver counts for the process after the last run, CUDA context included, by NVML; None
            where NVML does not list it (Jetson, containers).
    """

    loaded: int
    peak: int
    process: int | None = None


class DeviceMemoryMeter:
    """Counts from the moment at which it is made; the CUDA context exists from then on.

    Args:
        nvml: the same GPU; None for none.

    Raises:
        DefianError: pycuda is missing, or there is no usable GPU.
    """

    def __init__(self, nvml: Nvml | None) -> None:
        self._nvml = nvml
        self._stack = ExitStack()
        self._context = DeviceContext()
        self._stack.callback(self._context.close)
        self._before = self._free()
        self._used: list[int] = []

    def _free(self) -> int:
        with self._context.current(), driver_errors(self._context.cuda, "asking for the free memory"):
            return int(self._context.cuda.mem_get_info()[0])

    def take(self) -> None:
        """Note what is taken now: once after loading, and again after every run."""
        self._used.append(max(self._before - self._free(), 0))

    def result(self) -> DeviceMemory:
        """The figures; at least one was taken."""
        process = None if self._nvml is None else self._nvml.process_memory()
        return DeviceMemory(self._used[0], max(self._used), process)

    def close(self) -> None:
        """Release the CUDA context."""
        self._stack.close()

    def __enter__(self) -> DeviceMemoryMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def watch_device_memory() -> DeviceMemoryMeter:
    """A meter of the GPU that engines run on.

    Raises:
        DefianError: as the class.
    """
    return DeviceMemoryMeter(open_nvml())
