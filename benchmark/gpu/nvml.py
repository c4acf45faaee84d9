"""The GPU in use through NVML (package nvidia-ml-py): energy, power, clocks, and this process's memory."""

from __future__ import annotations

import os
from typing import Any

from defian_edge.runtime.entry import raise_if_ended

THROTTLES = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "heat (software)",
    0x40: "heat (hardware)",
    0x80: "power brake",
}
"""Bits of ``nvmlClocksEventReason`` that mean: slower than the clocks that were asked for. Idle and settings do not."""


class Nvml:
    """One GPU. A figure that the driver or the card does not give is None.

    Args:
        module: ``pynvml``, initialised.
        handle: the device's.
    """

    def __init__(self, module: Any, handle: Any) -> None:  # noqa: ANN401 - an optional package
        self._nvml, self._handle = module, handle

    @property
    def name(self) -> str:
        """What the driver calls the GPU, and its UUID: with several, the reader must know which one was meant."""
        return f"{self._ask('nvmlDeviceGetName')} {self._ask('nvmlDeviceGetUUID')}"

    def energy(self) -> float | None:
        """Joules since the driver was loaded; Volta and newer."""
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1e3

    def power(self) -> float | None:
        """Watts of the whole board."""
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        return None if milliwatts is None else milliwatts / 1e3

    def clock(self) -> float | None:
        """Clock of the multiprocessors in MHz."""
        return self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)

    def throttles(self) -> set[str]:
        """Why the clock is below what was asked for at this moment; empty if it is not, or if it is not told."""
        name = "nvmlDeviceGetCurrentClocksEventReasons"
        old = "nvmlDeviceGetCurrentClocksThrottleReasons"
        bits = self._ask(name if hasattr(self._nvml, name) else old)
        return {words for bit, words in THROTTLES.items() if (bits or 0) & bit}

    def process_memory(self) -> int | None:
        """Bytes that this process holds on the GPU, CUDA context included; None if it is not listed.

        It is not listed where process ids are others' (containers) or under WSL.
        """
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses") or []
        own = [each.usedGpuMemory for each in processes if each.pid == os.getpid()]
        return None if not own or own[0] is None else int(own[0])

    def _ask(self, name: str, *arguments: object) -> Any:  # noqa: ANN401
        try:
            return getattr(self._nvml, name)(self._handle, *arguments)
        except (self._nvml.NVMLError, AttributeError):
            return None


def open_nvml() -> Nvml | None:
    """The GPU that CUDA would use first; None without nvidia-ml-py, a driver or a GPU.

    The first of ``CUDA_VISIBLE_DEVICES`` counts, a UUID or a number; NVML numbers by PCI address, as CUDA does with
    ``CUDA_DEVICE_ORDER=PCI_BUS_ID``.
    """
    try:
        import pynvml
    except ImportError:
        raise_if_ended()
        return None
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    try:
        pynvml.nvmlInit()
        if first.startswith("GPU-"):
            handle = pynvml.nvmlDeviceGetHandleByUUID(first)
        else:
            handle = pynvml.nvmlDeviceGetHandleByIndex(int(first) if first.isdigit() else 0)
    except pynvml.NVMLError:
        return None
    return Nvml(pynvml, handle)
