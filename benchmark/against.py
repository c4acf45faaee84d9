"""Two results, an old one and a new one: which differences exceed the noise of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.statistics import STEADY_CV
from runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SAME_DRIFT = 1e-4
"""dB. The graphs compute the same bits on one machine; another one may round a sum differently."""
COMPARED = ("cpu", "cores", "board", "gpu", "power_mode", "threads", "packages")


@dataclass(frozen=True)
class Change:
    """One figure in both results.

    Attributes:
        name: candidate, and shape for a latency.
        what: ``latency`` (median, seconds) or ``drift`` (mean, dB).
        old, new: the figure.
        noise: how large a change may be by chance: of the ratio for a latency, in dB for a drift.
    """

    name: str
    what: str
    old: float
    new: float
    noise: float

    @property
    def exceeds(self) -> bool:
        """Whether the change is larger than the noise."""
        change = self.new / self.old - 1.0 if self.what == "latency" else self.new - self.old
        return abs(change) > self.noise


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Changes of every candidate and shape that both results have.

    The noise of a latency's ratio is twice the standard error of both medians, and never below 2.5 %: two runs of
    one machine differ by that much without any cause. Unlike the ratios of one run, it does not cancel the drift of
    the machine between the runs.

    Raises:
        DefianError: the results have no candidate in common.
    """
    require_common(old, [each["name"] for each in new["candidates"]])
    before = {each["name"]: each for each in old["candidates"]}
    common = [each for each in new["candidates"] if each["name"] in before]
    return [change for each in common for change in _of(before[each["name"]], each)]


def require_common(old: dict[str, Any], names: Sequence[str]) -> None:
    """Refuse an earlier result that holds none of these artefacts; this can be told before anything is measured.

    Raises:
        DefianError: with the artefacts of both.
    """
    before = [each["name"] for each in old["candidates"]]
    if not set(before) & set(names):
        raise DefianError(
            f"The two results have no artefact in common: {', '.join(before) or 'none'} before, "
            f"{', '.join(names)} now.",
            "Compare with a result of the same artefacts: they are matched by name.",
        )


def _of(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    before = {each["shape"]: each["seconds"] for each in old["latencies"]}
    for latency in new["latencies"]:
        shape = latency["shape"]
        if shape in before:
            first, second = np.asarray(before[shape]), np.asarray(latency["seconds"])
            noise = max(STEADY_CV, 2.0 * math.hypot(_relative_error(first), _relative_error(second)))
            medians = float(np.median(first)), float(np.median(second))
            yield Change(f"{new['name']} at {shape}", "latency", *medians, noise)
    if old.get("drift") and new.get("drift"):
        figures = old["drift"]["mean_drift_db"], new["drift"]["mean_drift_db"]
        if None not in figures:
            yield Change(new["name"], "drift", *figures, SAME_DRIFT)


def _relative_error(seconds: np.ndarray) -> float:
    """Standard error of the median over the median, from the quartiles, as for normal samples."""
    low, high = np.percentile(seconds, [25, 75])
    deviation = (high - low) / 1.349
    return float(1.253 * deviation / math.sqrt(len(seconds)) / np.median(seconds))


def other_conditions(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Sentences on what differs between the machines or the programs of two results."""
    before, now = old.get("environment", {}), new.get("environment", {})
    return [
        f"{name} differs: {before.get(name)} before, {now.get(name)} now."
        for name in COMPARED
        if before.get(name) != now.get(name)
    ]
