"""How much memory is free here, and how much a graph takes on a CPU."""

from __future__ import annotations

import os
from pathlib import Path

from .device.context import MEMINFO as _MEMINFO
from .device.context import available_system_memory

BYTES_PER_PIXEL = 1100
"""Of an LR picture in one piece: the maps that ONNX Runtime keeps at once for DeFiAN-S in FP32 (docs/runtime.md)."""
SHARE = 0.5
"""Of what is free that a picture in one piece may take. DeFiAN-L, with twice the channels, takes twice the estimate."""
_GROUP = Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """Memory that a program can have without swapping, the limit of its control group included; None if unknown."""
    known = [each for each in (_machine(), _control_group()) if each is not None]
    return min(known) if known else None


def fits(pixels: int) -> bool:
    """Whether an LR picture of so many pixels can be upscaled by a graph in one piece; True where nothing is known."""
    free = free_bytes()
    return free is None or pixels * BYTES_PER_PIXEL <= SHARE * free


def _machine() -> int | None:
    told = available_system_memory(_MEMINFO)
    if told:
        return told
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _control_group() -> int | None:
    """What a container may still take; file cache counts as taken there, so this is a lower bound."""
    try:
        most, taken = ((_GROUP / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (_GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(int(most) - int(taken) + int(cached.get("inactive_file", 0)), 0)
    except (OSError, ValueError):
        return None
