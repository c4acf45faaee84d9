"""The table of devices: by name, and the one that this machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import shown
from ..errors import DefianError
from .cards import CARDS
from .jetsons import ALIASES, JETSONS

if TYPE_CHECKING:
    from .device import Device

AUTO = "auto"
"""Beside the names: the device on which the command runs."""
SEEN = 0.85
"""The least share of a card's memory that a driver tells of; 0.937 with error correction on a T4, an L4 or an A10."""
DEVICES = {device.name: device for device in (*JETSONS, *CARDS)}


def device_named(name: str) -> Device:
    """A device of the table.

    Raises:
        DefianError: it is not in the table.
    """
    known = ALIASES.get(name, name)
    if known not in DEVICES:
        raise DefianError(
            f"No device {shown(name)} in the table of published peaks: expected one of "
            f"{', '.join((*DEVICES, *ALIASES))}, or {AUTO} on the device itself."
        )
    return DEVICES[known]


def device_of(gpu_name: str | None, board: str = "", memory: int | None = None) -> Device | None:
    """The table's entry for this machine; None if the table lacks it.

    A card is found by its whole name, because a laptop's or a PCIe card's of the same number is another device. A
    Jetson is found by its board, and its fastest mode counts, since no mode may beat the bound. Of several that differ
    in memory it is the smallest that has as much as the system sees, or the largest if that is not known. What has
    more than any of them is another device, and so is a card with much less: all but a part for the driver and for
    error correction is seen of a card's memory, while a Jetson's is shared out before Linux counts it.

    Args:
        gpu_name: what the driver calls the GPU; None without one.
        board: what the device tree calls the machine; empty for none.
        memory: bytes that the system sees of the GPU's memory, which is less than the module has; None if unknown.
    """
    plain = (gpu_name or "").removeprefix("NVIDIA ").removeprefix("GeForce ")
    known = [
        each
        for each in DEVICES.values()
        if (each.drivers_name and each.drivers_name == plain) or (each.board and each.board in board)
    ]
    if memory is None:
        return max(known, key=_memory, default=None)
    fitting = [each for each in known if each.memory >= memory and (each.unified or memory >= SEEN * each.memory)]
    return min(fitting, key=_memory, default=None)


def _memory(device: Device) -> int:
    return device.memory
