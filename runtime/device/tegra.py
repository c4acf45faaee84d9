"""A Jetson's board by the device tree, its power by ``tegrastats``, and its GPU's clock by devfreq."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BOARD = Path("/proc/device-tree/model")
DEVFREQ = Path("/sys/class/devfreq")
GPUS = ("gpu", "ga10b", "gv11b", "gp10b", "gm20b")
"""How the GPU's entry in devfreq ends: Orin, Xavier, TX2, Nano, by kernel."""
WHOLE = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that feed everything else on the module; ``VIN`` is Thor's."""
INSIDE = ("VDDQ_VDD2_1V8AO",)
"""Rails of an AGX Orin behind another one, VIN_SYS_5V0, and so no part of the sum."""
INTERVAL_MS = 100
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?:/\d+mW)?(?=\s|$)")
_MEMORY = re.compile(r"\bRAM (\d+)/(\d+)MB")
_TEMPERATURE = re.compile(r"\b([A-Za-z][A-Za-z0-9_]*)@(-?[0-9.]+)C\b")
_LOAD = re.compile(r"\bGR3D_FREQ (\d+)%")
_NO_SENSOR = -200.0
"""tegrastats writes -256 C for a sensor whose part is switched off."""


def board_of(path: Path | None = None) -> str:
    """What the device tree calls the machine if it is a Jetson; empty on any other."""
    try:
        name = (path or BOARD).read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
    return name if "Jetson" in name or any(word in name for word in ("Orin", "Xavier", "Thor")) else ""


def rails(line: str) -> dict[str, float]:
    """Watts at this moment by rail, from a line of tegrastats such as ``VDD_IN 4937mW/4881mW``.

    The second figure is an average over tegrastats' own run and is not used, nor is the third, a maximum, that JetPack
    7 adds. JetPack 4 writes no unit; memory is written ``RAM 2448/7620MB`` and is none.
    """
    return {name: int(now) / 1e3 for name, now, _ in _RAIL.findall(line) if name != "NC"}


def module_power(line: str) -> float | None:
    """Watts of the whole module: its input rail, else the sum of the rails; None if the line has none."""
    found = rails(line)
    for name in WHOLE:
        if name in found:
            return found[name]
    parts = [watts for name, watts in found.items() if name not in INSIDE]
    return sum(parts) if parts else None


def memory(line: str) -> tuple[int, int] | None:
    """Used and total memory in bytes, which CPU and GPU share, from a line with ``RAM 2448/7620MB``."""
    found = _MEMORY.search(line)
    return (int(found[1]) << 20, int(found[2]) << 20) if found else None


def temperatures(line: str) -> dict[str, float]:
    """Degrees Celsius by sensor, such as ``tj``: in small letters, as JetPack 6 writes them and JetPack 5 does not."""
    found = {name.lower(): float(text) for name, text in _TEMPERATURE.findall(line)}
    return {name: degrees for name, degrees in found.items() if degrees > _NO_SENSOR}


def gpu_load(line: str) -> int | None:
    """Percent of the time that the GPU works; None on a Thor, whose line does not say it."""
    found = _LOAD.search(line)
    return int(found[1]) if found else None


class Tegrastats:
    """Power of the module, sampled by a ``tegrastats`` process of its own while the ``with`` block runs.

    Attributes:
        samples: (clock, watts), the clock as ``time.perf_counter``.
    """

    def __init__(self, program: str, clock: Callable[[], float] = time.perf_counter) -> None:
        self._program, self._clock = program, clock
        self.samples: list[tuple[float, float]] = []

    def __enter__(self) -> Tegrastats:
        command = [self._program, "--interval", str(INTERVAL_MS)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout or [],), daemon=True)
        self._reader.start()
        return self

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            watts = module_power(line)
            if watts is not None:
                self.samples.append((self._clock(), watts))

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()


def find_tegrastats() -> str | None:
    """The program; None on anything but a Jetson."""
    return shutil.which("tegrastats")


def gpu_clocks(folder: Path = DEVFREQ) -> dict[str, float] | None:
    """A Jetson's GPU clock now, and the least and the most that its power mode allows, MHz; None on other machines."""
    names = {"now": "cur_freq", "least": "min_freq", "most": "max_freq"}
    for entry in sorted(folder.glob("*")):
        if entry.name.endswith(GPUS):
            try:
                return {name: int((entry / file).read_text()) / 1e6 for name, file in names.items()}
            except (OSError, ValueError):
                return None
    return None


def gpu_clock(folder: Path = DEVFREQ) -> float | None:
    """The clock now, MHz."""
    clocks = gpu_clocks(folder)
    return None if clocks is None else clocks["now"]
