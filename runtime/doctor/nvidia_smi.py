"""What ``nvidia-smi -q`` writes: a tree of ``name : value`` by indentation, one branch for each GPU.

Asked where nvidia-ml-py is not installed. Names have changed: "Clocks Throttle Reasons" of the drivers to 530 are
"Clocks Event Reasons" since, and "Power Limit" is "Current Power Limit", below "GPU Power Readings".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .facts import Gpu

if TYPE_CHECKING:
    from collections.abc import Iterable

Path = tuple[str, ...]
_LINE = re.compile(r"^( *)([^:]+?)\s*(?:: (.*))?$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
GPU_LINE = re.compile(r"^GPU [0-9A-Fa-f]{8}:[0-9A-Fa-f]{2}:")
REASONS = {
    "SW Power Cap": "power cap",
    "HW Slowdown": "hardware slowdown",
    "SW Thermal Slowdown": "heat (software)",
    "HW Thermal Slowdown": "heat (hardware)",
    "HW Power Brake Slowdown": "power brake",
}
"""Of the reasons for a lower clock, those that are none of the user's settings, in the words of ``device/nvml.py``."""


def branches(text: str) -> tuple[dict[Path, str], list[dict[Path, str]]]:
    """The head, and each GPU's values, by the names that lead to them; a name without a value leads on."""
    head: dict[Path, str] = {}
    gpus: list[dict[Path, str]] = []
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        if GPU_LINE.match(line):
            gpus.append({})
            above = []
            continue
        found = _LINE.match(line.rstrip())
        if found is None:
            continue
        depth, name, value = len(found[1]), found[2], found[3]
        above = [each for each in above if each[0] < depth]
        if value is None:
            above.append((depth, name))
            continue
        into = gpus[-1] if gpus else head
        into.setdefault((*(each[1] for each in above), name), value.strip())
    return head, gpus


def driver_of(text: str) -> tuple[str, tuple[int, int] | None]:
    """The driver's version and the newest CUDA that it supports; empty and None if they are not told."""
    head, _ = branches(text)
    cuda = re.fullmatch(r"(\d+)\.(\d+)", head.get(("CUDA Version",), ""))
    return head.get(("Driver Version",), ""), (int(cuda[1]), int(cuda[2])) if cuda else None


def gpus_of(text: str) -> list[Gpu]:
    """Every GPU that is listed. The compute capability is not: nvidia-smi does not tell it here."""
    return [_gpu(values) for values in branches(text)[1]]


def _gpu(values: dict[Path, str]) -> Gpu:
    def number(*paths: Path) -> float | None:
        return _number(values.get(path, "") for path in paths)

    reasons = {path[-1] for path, value in values.items() if path[0].endswith("Reasons") and value == "Active"}
    free, total = number(("FB Memory Usage", "Free")), number(("FB Memory Usage", "Total"))
    power, new_power = "Power Readings", "GPU Power Readings"
    return Gpu(
        name=values.get(("Product Name",), "unknown"),
        source="nvidia-smi",
        uuid=values.get(("GPU UUID",), ""),
        free=None if free is None or not total else int(free) << 20,
        total=int(total) << 20 if total else None,
        clock=number(("Clocks", "SM")),
        most_clock=number(("Max Clocks", "SM")),
        power=number(
            (new_power, "Instantaneous Power Draw"),
            (new_power, "Average Power Draw"),
            (new_power, "Power Draw"),
            (power, "Power Draw"),
        ),
        power_limit=number(
            (new_power, "Current Power Limit"), (power, "Enforced Power Limit"), (new_power, "Power Limit")
        ),
        delivered_limit=number((new_power, "Default Power Limit"), (power, "Default Power Limit")),
        temperature=number(("Temperature", "GPU Current Temp")),
        slowdown=number(("Temperature", "GPU Slowdown Temp")),
        throttles=tuple(words for name, words in REASONS.items() if name in reasons),
    )


def _number(texts: Iterable[str]) -> float | None:
    """The first that begins with a number: ``450.00 W``, but neither ``N/A`` nor ``[Not Supported]``."""
    for text in texts:
        found = _NUMBER.match(text)
        if found:
            return float(found[0])
    return None
