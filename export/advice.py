"""Which precision for a device: by the roofline bounds of each there, and by the drift that was measured of each."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from defian_edge.export.precision import Precision
from defian_edge.export.roofline.bound import FLOAT_BYTES, Work, bound_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defian_edge.export.artefacts import Artefact
    from defian_edge.export.roofline.bound import Bound
    from defian_edge.runtime.hardware.device import Device
    from defian_edge.runtime.profile import ShapeProfile

WORTH = 0.95
"""A precision that drifts more is taken where its bound is less than this share of the other's."""


@dataclass(frozen=True)
class _Candidate:
    precision: Precision
    bound: Bound
    worst: float | None

    def words(self) -> str:
        drift = "" if self.worst is None else f", worst drift {self.worst:.4f} dB"
        return f"{self.precision.value} {1e3 * self.bound.seconds:.2f} ms ({self.bound.limit}{drift})"


def recommended(artefacts: Sequence[Artefact], device: Device, profile: ShapeProfile, *, wide_results: bool) -> str:
    """One line: the precision of those that were accepted, and why; empty if none was.

    What moves is what the plans of the engines say, where all of them say it; else it is counted on the graphs.

    Args:
        artefacts: what was exported.
        device: at its published peaks.
        profile: the bounds are those of its most frequent shape.
        wide_results: the compiler writes what INT8 convolutions compute as FP32, as TensorRT-RTX does.
    """
    accepted = [each for each in artefacts if each.accepted]
    if not accepted:
        return ""
    plans = [None if each.engine is None else each.engine.moved_bytes for each in accepted]
    share = prod(profile.optimum) / prod(profile.maximum)
    moved = [None if None in plans else round((plan or 0) * share) for plan in plans]
    found = [
        _candidate(each, device, bytes_, wide_results=wide_results)
        for each, bytes_ in zip(accepted, moved, strict=True)
    ]
    order = list(Precision)
    ranked = sorted(found, key=lambda each: (_drift(each), order.index(each.precision)))
    best = ranked[0]
    for each in ranked[1:]:
        if each.bound.seconds < WORTH * best.bound.seconds:
            best = each
    others = [each for each in found if each is not best]
    how = "counted on the graphs" if None in plans else "of the engines' plans"
    shape = "x".join(map(str, profile.optimum))
    told = f"{device.name}: {best.precision.value} is recommended. By peaks and bytes {how}, {shape} takes at least "
    told += best.words()
    if others:
        told += f"; against {', '.join(each.words() for each in others)}"
    if any(each.bound.compute is None for each in found):
        told += "; its arithmetic rates are not published, so memory alone bounds it"
    return f"{told}. More drift is taken for {1 - WORTH:.0%} less; bounds, no measurement."


def _drift(candidate: _Candidate) -> float:
    return max(candidate.worst or 0.0, 0.0)


def _candidate(artefact: Artefact, device: Device, planned: int | None, *, wide_results: bool) -> _Candidate:
    shares = artefact.shares
    moved = shares.moved_bytes + (2 * FLOAT_BYTES * shares.int8_results if wide_results else 0)
    moved = moved if planned is None else planned
    worst = None if artefact.drift is None else artefact.drift.worst.drift
    return _Candidate(artefact.variant.precision, bound_of(Work(shares.total_macs, moved, moved), device), worst)
