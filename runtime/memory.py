"""How much memory is free here, and how much a graph takes on a CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .device.context import MEMINFO as _MEMINFO
from .device.context import available_system_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES_PER_PIXEL = 1100
"""Of an LR picture in one piece: the maps that ONNX Runtime keeps at once for DeFiAN-S in FP32 (docs/runtime.md)."""
SHARE = 0.5
"""Of what is free that a picture in one piece may take. DeFiAN-L, with twice the channels, takes twice the estimate."""
_GROUP, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")


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
    """What the control group of this process, and those around it, may still take; None without a limit.

    Each of them may have a limit of its own, as a job of a cluster's has. File cache counts as taken there.
    """
    known = [each for place, names in _groups() if (each := _left(place, names)) is not None]
    return min(known) if known else None


def _groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Folders of the groups, and how their version of control groups names limit, use, and what of it is file cache."""
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    within = {kinds: path for _, kinds, path in (line.split(":", 2) for line in lines if line.count(":") >= 2)}
    first = next((path for kinds, path in within.items() if "memory" in kinds.split(",")), "/")
    for root, path, names in ((_GROUP, within.get("", "/"), _VERSION_2), (_GROUP / "memory", first, _VERSION_1)):
        place = root / path.lstrip("/")  # which a container does not see as its own root
        yield from ((each, names) for each in (place, *place.parents) if each.is_relative_to(root))


def _left(place: Path, names: tuple[str, str, str]) -> int | None:
    limit, use, cached = names
    try:
        most, taken = (int((place / name).read_text(encoding="ascii")) for name in (limit, use))
        facts = dict(line.split() for line in (place / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(most - taken + int(facts.get(cached, 0)), 0)
    except (OSError, ValueError):
        return None
