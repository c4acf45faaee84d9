"""Two results, an old one and a new one: which differences exceed the noise of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.benchmark.baseline.comparability import largest, same_pictures, same_tiles
from defian_edge.benchmark.statistics import STEADY_CV
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class Figure:
    """What is compared.

    Attributes:
        name: as a reader knows it.
        unit: ``s``, ``dB`` or ``B``.
        more, less: what a larger and a smaller figure is called.
        noise: how far two runs of one machine differ without any cause: a share, or dB.
        least: and how far at least, in the unit.
    """

    name: str
    unit: str
    more: str
    less: str
    noise: float
    least: float = 0.0

    @property
    def relative(self) -> bool:
        """Whether the noise is a share of the figure; decibels are a ratio already."""
        return self.unit != "dB"


LATENCY = Figure("latency", "s", "slower", "faster", STEADY_CV)
# The graphs compute the same bits on one machine; another one may round a sum differently.
MEAN_DRIFT = Figure("drift, mean", "dB", "more drift", "less drift", 1e-4)
WORST_DRIFT = Figure("drift, worst", "dB", "more drift", "less drift", 1e-3)
TO_REFERENCE = Figure("PSNR to reference", "dB", "closer", "farther", 1e-2)
TILE_DRIFT = Figure("tile drift, worst", "dB", "more drift", "less drift", 1e-3)
# Allocators take memory in steps, and threads of ONNX Runtime as many as are awake at a time.
HOST_PEAK = Figure("host memory, peak", "B", "more", "less", 0.05, 8e6)
DEVICE_PEAK = Figure("device memory, peak", "B", "more", "less", 0.01, 8e6)
PLANNED = Figure("device memory, planned", "B", "more", "less", 0.0)


@dataclass(frozen=True)
class Change:
    """One figure in both results.

    Attributes:
        name: candidate, and shape for a latency.
        figure: what it is.
        old, new: seconds, dB or bytes; infinite for the PSNR of equal pictures.
        noise: how large a change may be by chance: of the ratio, or in dB.
    """

    name: str
    figure: Figure
    old: float
    new: float
    noise: float

    @property
    def size(self) -> float:
        """How large the change is, in the noise's terms."""
        if self.old == self.new:
            return 0.0
        return self.new / self.old - 1.0 if self.figure.relative else self.new - self.old

    @property
    def exceeds(self) -> bool:
        """Whether the change is larger than the noise."""
        return abs(self.size) > self.noise

    @property
    def verdict(self) -> str:
        """What to call the change."""
        if not self.exceeds:
            return "within the noise"
        return self.figure.more if self.size > 0 else self.figure.less


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Changes of all figures of every candidate that both results have.

    Drift is compared only if it was measured on the same pictures, tile drift only in the same tiles, and memory only
    if the largest shape is the same. The noise of a latency's ratio is twice the standard error of both medians, and
    never below 2.5 %: two runs of one machine differ by that much without any cause. Unlike the ratios of one run, it
    does not cancel the drift of the machine between the runs.

    Raises:
        DefianError: the results have no candidate in common.
    """
    require_common(old, [each["name"] for each in new["candidates"]])
    before = {each["name"]: each for each in old["candidates"]}
    pairs = [(before[each["name"]], each) for each in new["candidates"] if each["name"] in before]
    found: list[Change] = []
    for one, other in pairs:
        found += _latencies(one, other)
        if same_pictures(old, new, one, other):
            found += _drifts(one, other, tiles=same_tiles(old, new))
        if largest(old["shapes"]) == largest(new["shapes"]):
            found += _memories(one, other)
        planned = one["activation_bytes_planned"], other["activation_bytes_planned"]
        found += _change(other["name"], PLANNED, *planned)
    return found


def require_common(old: dict[str, Any], names: Sequence[str], shapes: Sequence[str] | None = None) -> None:
    """Refuse an earlier result that holds none of these artefacts; this can be told before anything is measured.

    Args:
        old: the earlier result.
        names: of the artefacts now.
        shapes: that are timed now, where nothing but what depends on them could be compared.

    Raises:
        DefianError: with the artefacts, or the shapes, of both.
    """
    before = [each["name"] for each in old["candidates"]]
    if not set(before) & set(names):
        raise DefianError(
            f"The two results have no artefact in common: {', '.join(before) or 'none'} before, "
            f"{', '.join(names)} now.",
            "Compare with a result of the same artefacts: they are matched by name.",
        )
    timed = [latency["shape"] for each in old["candidates"] if each["name"] in names for latency in each["latencies"]]
    if shapes is not None and timed and not set(timed) & set(shapes):
        earlier = ", ".join(dict.fromkeys(timed))
        raise DefianError(
            f"The two results have no shape in common: {earlier} before, {', '.join(shapes)} now.",
            f"Time the earlier one's: --batch {timed[0].partition('x')[0]} --shape {timed[0].partition('x')[2]}",
        )


def _latencies(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    before = {each["shape"]: each["seconds"] for each in old["latencies"]}
    for latency in new["latencies"]:
        shape = latency["shape"]
        if shape in before:
            first, second = np.asarray(before[shape]), np.asarray(latency["seconds"])
            noise = max(LATENCY.noise, 2.0 * math.hypot(_relative_error(first), _relative_error(second)))
            medians = float(np.median(first)), float(np.median(second))
            yield Change(f"{new['name']} at {shape}", LATENCY, *medians, noise)


def _relative_error(seconds: np.ndarray) -> float:
    """Standard error of the median over the median, from the quartiles, as for normal samples."""
    low, high = np.percentile(seconds, [25, 75])
    deviation = (high - low) / 1.349
    return float(1.253 * deviation / math.sqrt(len(seconds)) / np.median(seconds))


def _drifts(old: dict[str, Any], new: dict[str, Any], *, tiles: bool) -> Iterator[Change]:
    one, other = old["drift"], new["drift"]
    yield from _change(new["name"], MEAN_DRIFT, one["mean_drift_db"], other["mean_drift_db"])
    yield from _change(new["name"], WORST_DRIFT, one["worst_drift_db"], other["worst_drift_db"])
    to_reference = (
        math.inf if each["psnr_to_reference"] is None else each["psnr_to_reference"] for each in (one, other)
    )
    yield from _change(new["name"], TO_REFERENCE, *to_reference)
    if tiles and old["tile_drift"] and new["tile_drift"]:
        worst = (each["tile_drift"]["worst_drift_db"] for each in (old, new))
        yield from _change(new["name"], TILE_DRIFT, *worst)


def _memories(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    one, other = old["memory"] or {}, new["memory"] or {}
    for figure, part in ((HOST_PEAK, "host"), (DEVICE_PEAK, "device")):
        peaks = ((each.get(part) or {}).get("peak") for each in (one, other))
        yield from _change(new["name"], figure, *peaks)


def _change(name: str, figure: Figure, old: float | None, new: float | None) -> Iterator[Change]:
    """The change, if both are known."""
    if old is None or new is None:
        return
    noise = max(figure.noise, figure.least / old) if figure.relative and old else figure.noise
    if old or not figure.relative:
        yield Change(name, figure, old, new, noise)
