"""What only a Jetson has: its board, Jetson Linux, power modes, temperatures, and JetPack's TensorRT."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..device.tegra import BOARD, board_of, temperatures
from .facts import Jetson
from .packages import version_key

if TYPE_CHECKING:
    from .programs import Said

RELEASE = Path("/etc/nv_tegra_release")
MODES = Path("/etc/nvpmodel.conf")
ZONES = Path("/sys/class/thermal")
HWMON = Path("/sys/class/hwmon")
LIBRARIES = Path("/usr/lib/aarch64-linux-gnu")
SYSTEM_PACKAGES = Path("/usr/lib")
CAPABILITIES = {"Thor": (11, 0), "Orin": (8, 7), "Xavier": (7, 2)}
"""Compute capability by a word of the board's name; https://developer.nvidia.com/cuda-gpus."""
_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: (\d+)\.(\d+)")
_MODE = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", re.MULTILINE)


def capability_of(board: str) -> tuple[int, int] | None:
    """The compute capability of the board's GPU; None if its name is not known."""
    return next((capability for word, capability in CAPABILITIES.items() if word in board), None)


def release_of(text: str) -> tuple[int, ...]:
    """Version of Jetson Linux from the first line of ``/etc/nv_tegra_release``, such as (36, 4, 3); else empty."""
    found = _RELEASE.match(text)
    return tuple(map(int, found.groups())) if found else ()


def mode_of(text: str) -> tuple[str, int] | None:
    """Name and number of the mode from ``nvpmodel -q``, whatever else it warns of; None if it names none."""
    lines = [line.strip() for line in text.splitlines()]
    for index, line in enumerate(lines):
        _, told, name = line.partition("NV Power Mode:")
        if told:
            number = next((each for each in lines[index + 1 :] if each.isdigit()), "")
            return (name.strip(), int(number)) if number else None
    return None


def modes_of(text: str) -> dict[int, str]:
    """Every mode of ``/etc/nvpmodel.conf``, name by number."""
    return {int(number): name for number, name in _MODE.findall(text)}


def passive_of(folder: Path | None = None) -> dict[str, float]:
    """Celsius from which on the kernel throttles, by sensor, from the thermal zones' trip points."""
    found: dict[str, float] = {}
    for zone in sorted((folder or ZONES).glob("thermal_zone*")):
        trips = [point for point in zone.glob("trip_point_*_type") if _text(point).strip() == "passive"]
        degrees = [_text(point.with_name(point.name.replace("_type", "_temp"))).strip() for point in trips]
        limits = [int(each) / 1e3 for each in degrees if each.isdigit() and int(each) > 0]
        if limits:
            found[_text(zone / "type").strip().removesuffix("-thermal").removesuffix("-therm").lower()] = min(limits)
    return found


def overcurrents_of(folder: Path | None = None) -> dict[str, int]:
    """How often each alarm of the over-current protection went off since the start, such as ``oc1``; those that did."""
    counts: dict[str, int] = {}
    for path in sorted((folder or HWMON).glob("hwmon*/oc*_event_cnt")):
        text = _text(path).strip()
        if text.isdigit() and int(text):
            counts[path.name.removesuffix("_event_cnt")] = int(text)
    return counts


def tensorrt_of(folder: Path | None = None) -> str:
    """Version of the TensorRT library that the system has, from its name, such as ``10.3.0``; empty without one."""
    names = [path.name.removeprefix("libnvinfer.so.") for path in (folder or LIBRARIES).glob("libnvinfer.so.*")]
    return max((name for name in names if name.count(".") >= 2), key=version_key, default="")


def find_jetson(line: str, asked: Said) -> Jetson | None:
    """What this Jetson tells; None on any other machine.

    Args:
        line: a line of tegrastats; empty if there is none.
        asked: what ``nvpmodel -q`` says.
    """
    board = board_of(BOARD)
    if not board:
        return None
    mode = mode_of(asked.output)
    return Jetson(
        board=board,
        l4t=release_of(_text(RELEASE)),
        mode=mode,
        modes=modes_of(_text(MODES)),
        mode_error="" if mode else asked.why,
        temperatures=temperatures(line),
        passive=passive_of(),
        overcurrents=overcurrents_of(),
        tensorrt=tensorrt_of(),
        tensorrt_python=any(SYSTEM_PACKAGES.glob("python3*/dist-packages/tensorrt")),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
