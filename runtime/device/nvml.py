"""GPUs through NVML (package nvidia-ml-py): what they are, memory, energy, power, clocks, and temperature."""

from __future__ import annotations

import os
from typing import Any

from ..entry import raise_if_ended

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

    @property
    def model(self) -> str:
        """What the driver calls the GPU."""
        return str(self._ask("nvmlDeviceGetName") or "")

    @property
    def uuid(self) -> str:
        """Such as ``GPU-`` and 36 characters; of a MIG part its own."""
        return str(self._ask("nvmlDeviceGetUUID") or "")

    def capability(self) -> tuple[int, int] | None:
        """Compute capability, such as (8, 9)."""
        found = self._ask("nvmlDeviceGetCudaComputeCapability")
        return None if found is None else (int(found[0]), int(found[1]))

    def memory(self) -> tuple[int, int] | None:
        """Free and total memory in bytes; None where it is the system's own (Jetson, GB10)."""
        found = self._ask("nvmlDeviceGetMemoryInfo")
        return None if found is None or not found.total else (int(found.free), int(found.total))

    def most_clock(self) -> float | None:
        """The fastest clock of the multiprocessors, MHz."""
        return self._ask("nvmlDeviceGetMaxClockInfo", self._nvml.NVML_CLOCK_SM)

    def power_limits(self) -> tuple[float | None, float | None]:
        """Watts that the board may take now, and as it was delivered."""
        names = ("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementDefaultLimit")
        found = [self._ask(name) for name in names]
        now, delivered = (None if each is None else each / 1e3 for each in found)
        return now, delivered

    def temperature(self) -> float | None:
        """Degrees Celsius of the chip."""
        return self._ask("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU)

    def slowdown_temperature(self) -> float | None:
        """Degrees Celsius from which on the hardware halves its clock."""
        return self._ask("nvmlDeviceGetTemperatureThreshold", self._nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)

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


def open_every_gpu() -> tuple[list[Nvml], str]:
    """Every GPU that NVML lists, and why there is none: NVML's own words; empty without the package or a driver."""
    try:
        import pynvml
    except ImportError:
        raise_if_ended()
        return [], ""
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        return [Nvml(pynvml, pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)], ""
    except pynvml.NVMLError as error:
        absent = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        return [], "" if getattr(error, "value", None) in absent else str(error)
