"""A Jetson: its power mode, its JetPack, and JetPack's TensorRT."""

from __future__ import annotations

import re
from math import inf
from operator import itemgetter
from typing import TYPE_CHECKING

from ...hardware.jetsons import LEAST_TENSORRT
from ..packages import is_older
from .rule import Rule, Verdict, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..facts import Facts, Jetson

POWER = (
    "https://docs.nvidia.com/jetson/archives/r36.3/DeveloperGuide/SD/PlatformPowerAndPerformance/"
    "JetsonOrinNanoSeriesJetsonOrinNxSeriesAndJetsonAgxOrinSeries.html"
)
FASTEST = ("MAXN_SUPER", "MAXN SUPER", "MAXN")
"""Names of the mode without a limit, the best first; its number differs from board to board."""
_WATTS, _CORES = re.compile(r"(?<!\d)(\d+)W(?![A-Z])"), re.compile(r"(?<!\d)(\d+)CORE")
_JETPACKS = re.compile(r"/usr/lib/python3[^/]*/dist-packages(/|$)")
"""Where Debian's packages lie, JetPack's among them; what ``sudo pip`` installs is below /usr/local/lib."""
FIRST_JETPACK = 6


def speed_of(mode: str) -> tuple[int, int, float] | None:
    """What the name of a power mode tells of its speed, to compare: whether it has no limit, then watts, then cores.

    ``MODE_20W_6CORE`` has 20 and 6, ``MODE_30W_ALL`` has every core. None if the name tells nothing.
    """
    name = mode.upper()
    if name in FASTEST:
        return len(FASTEST) - FASTEST.index(name), 0, 0.0
    watts = _WATTS.search(name)
    if watts is None:
        return None
    cores = _CORES.search(name)
    return 0, int(watts[1]), int(cores[1]) if cores else inf if name.endswith("_ALL") else 0


def fastest_mode(modes: Mapping[int, str]) -> tuple[int, str] | None:
    """The mode without a limit, else the one of the most watts, then cores; None if no name tells any."""
    known = [(speed, number) for number, name in modes.items() if (speed := speed_of(name)) is not None]
    if not known:
        return None
    _, number = max(known, key=itemgetter(0))
    return number, modes[number]


def power_mode(facts: Facts) -> Iterator[Verdict]:
    """A Jetson in the fastest power mode that its board has."""
    jetson = facts.jetson
    if jetson is None:
        return
    if jetson.mode is None:
        yield yellow("power", f"The power mode is not known: {jetson.mode_error}.", "sudo nvpmodel -q")
        return
    if jetson.overcurrents:
        return  # a faster mode would draw more, and overcurrent() names a slower one
    fastest = fastest_mode(jetson.modes)
    name, number = jetson.mode
    if fastest is not None and fastest[0] != number and speed_of(fastest[1]) != speed_of(name):
        text = f"The power mode is {name}; {fastest[1]} is this board's fastest."
        yield yellow("power", text, f"sudo nvpmodel -m {fastest[0]}")
    elif fastest is None and not name.upper().startswith("MAXN"):
        text = f"The power mode is {name}, and which modes this board has is not known."
        yield yellow("power", text, "grep POWER_MODEL /etc/nvpmodel.conf (then sudo nvpmodel -m with the fastest's ID)")


def overcurrent(facts: Facts) -> Iterator[Verdict]:
    """A Jetson that its over-current protection has not slowed down since it was started."""
    jetson = facts.jetson
    if jetson is None or not jetson.overcurrents:
        return
    alarms = ", ".join(f"{name} {count}" for name, count in sorted(jetson.overcurrents.items()))
    text = f"The over-current protection has slowed it down since it was started ({alarms})."
    slower = _next_below(jetson)
    look = "grep . /sys/class/hwmon/hwmon*/oc*_event_cnt"
    yield yellow("power", text, f"{look if slower is None else f'sudo nvpmodel -m {slower}'} (or a stronger supply)")


def _next_below(jetson: Jetson) -> int | None:
    """The fastest mode below the one that it is in; None if none is known."""
    now = None if jetson.mode is None else speed_of(jetson.mode[0])
    if now is None:
        return None
    below = {number: name for number, name in jetson.modes.items() if (speed := speed_of(name)) and speed < now}
    found = fastest_mode(below)
    return None if found is None else found[0]


def old_jetpack(facts: Facts) -> Iterator[Verdict]:
    """A JetPack whose TensorRT runs engines of this project."""
    jetson = facts.jetson
    if jetson is None:
        return
    if jetson.tensorrt and is_older(jetson.tensorrt, LEAST_TENSORRT):
        text = f"JetPack's TensorRT is {jetson.tensorrt}; engines need {LEAST_TENSORRT}, which came with JetPack 6.1."
        major = jetson.jetpack or 0
        cure = "sudo apt dist-upgrade (with r36.4 in /etc/apt/sources.list.d/nvidia-l4t-apt-source.list)"
        flash = "sudo sdkmanager --cli (flash JetPack 6.2 from another machine; Xavier has none)"
        yield red("packages", text, cure if major >= FIRST_JETPACK else flash)
    elif not jetson.tensorrt:
        yield yellow("packages", "JetPack's TensorRT is not installed.", "sudo apt install tensorrt python3-libnvinfer")


def wheel_beside_jetpack(facts: Facts) -> Iterator[Verdict]:
    """No wheel of TensorRT over JetPack's own."""
    jetson = facts.jetson
    if jetson is None or not jetson.tensorrt:
        return
    wheels = [
        package
        for name, package in sorted(facts.packages.items())
        if name.startswith("tensorrt") and not name.startswith("tensorrt-rtx") and not _JETPACKS.match(package.folder)
    ]
    if not wheels:
        return
    text = (
        f"The wheel {wheels[0].name} {wheels[0].version} lies over JetPack's own {jetson.tensorrt}, which is the one "
        "for a Jetson."
    )
    pip = "sudo pip" if any(package.folder.startswith("/usr/") for package in wheels) else "pip"
    yield red("packages", text, f"{pip} uninstall -y {' '.join(package.name for package in wheels)}")


def jetpack_hidden(facts: Facts) -> Iterator[Verdict]:
    """A virtual environment that sees JetPack's TensorRT."""
    jetson = facts.jetson
    if jetson is None or "tensorrt" in facts.packages or not jetson.tensorrt_python:
        return
    text = f"JetPack's TensorRT {jetson.tensorrt} is not seen from this environment ({facts.machine.environment})."
    yield red("packages", text, "python3 -m venv --system-site-packages venv")


JETSON_RULES = (
    Rule("power-mode", POWER, power_mode),
    Rule("over-current", POWER, overcurrent),
    Rule("old-jetpack", "https://developer.nvidia.com/embedded/jetpack-archive; pyproject.toml", old_jetpack),
    Rule("wheel-beside-jetpack", "https://github.com/NVIDIA/TensorRT/issues/4176", wheel_beside_jetpack),
    Rule("jetpack-hidden", "https://docs.python.org/3/library/venv.html (--system-site-packages)", jetpack_hidden),
)
