"""Which device of the table this machine is: by the device tree on a Jetson, by NVML on any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..device.context import MEMINFO, total_system_memory
from ..device.nvml import open_nvml
from ..device.tegra import BOARD, board_of
from ..errors import DefianError
from .table import AUTO, DEVICES, device_named, device_of

if TYPE_CHECKING:
    from .device import Device


def device_for(name: str) -> Device:
    """The device that ``--device`` names: one of the table, or with ``auto`` this machine.

    Raises:
        DefianError: there is none of that name, or this machine is none of the table.
    """
    return this_device() if name == AUTO else device_named(name)


def device_name(text: str) -> str:
    """A converter for ``--device``: the name as the table has it.

    Raises:
        DefianError: as ``device_for``.
    """
    return device_for(text).name


def device_here() -> Device | None:
    """The device that this machine is; None if the table lacks it, or it has no NVIDIA GPU that can be asked."""
    return _found()[0]


def this_device() -> Device:
    """The device that this machine is.

    Raises:
        DefianError: the table lacks it, or it has no NVIDIA GPU that can be asked.
    """
    device, what = _found()
    if device is None:
        raise DefianError(
            f"--device {AUTO}: expected a device of the table, found {what}.",
            f"On the device itself NVML (pip install nvidia-ml-py) or the device tree must name it. Or name one of "
            f"{', '.join(DEVICES)}.",
        )
    return device


def _found() -> tuple[Device | None, str]:
    """The device, and in words what the machine calls itself."""
    system = total_system_memory(MEMINFO) or None
    board = board_of(BOARD)
    if board:
        return device_of(None, board, system), board
    gpu = open_nvml()
    if gpu is None:
        return None, "no NVIDIA GPU that NVML tells of"
    told = gpu.memory()
    memory = system if told is None else told[1]
    seen = f"{gpu.model} with {(memory or 0) >> 20} MiB"
    return device_of(gpu.model, "", memory), seen
