"""What each part of the network costs when it is INT8: measured one part at a time, and ranked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.metrics import PEAK
from defian_edge.calibration.drift.report import DriftReport, json_ready, measure_drift
from defian_edge.export.precision.int8.sites import Sites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from defian_edge.calibration.drift.reference import Reference
    from defian_edge.export.precision.int8.calibrate import Calibrated
    from defian_edge.export.precision.int8.shares import Shares


@dataclass(frozen=True)
class Validation:
    """What it is measured on: photos that calibration did not use, and the PyTorch reference's outputs for them."""

    reference: Reference

    def drift(self, calibrated: Calibrated, sites: Sites) -> DriftReport:
        """Drift of the INT8 graph with these sites."""
        evaluator = GraphEvaluator(calibrated.variant(sites).model)
        return measure_drift("int8", evaluator, self.reference)


@dataclass(frozen=True)
class Sensitivity:
    """What one part costs when it alone is INT8.

    Attributes:
        group: name of a group, or of a module, which is all of its groups together.
        mean_drift_db, worst_drift_db: against the PyTorch reference.
        unrounded_to_reference: PSNR of the values before rounding, dB; the FP16 graph has a finite one as well.
        excess_error: mean squared difference of those from the reference's beyond that of the FP16 graph, in 8-bit
            steps squared.
        mac_share, byte_share: of all convolutions' MACs, and of the bytes that the feature maps have in FP16.
    """

    group: str
    mean_drift_db: float
    worst_drift_db: float
    unrounded_to_reference: float
    excess_error: float
    mac_share: float
    byte_share: float


def rank(
    calibrated: Calibrated, validation: Validation, shares: Shares, say: Callable[[str], None] = lambda _: None
) -> list[Sensitivity]:
    """Measure every group alone, and every module; the most harmful first."""
    base = error_of(validation.drift(calibrated, Sites((), ())))
    base = base if math.isfinite(base) else 0.0  # nothing to subtract from a graph at fault without any INT8
    sensitivities = []
    for part, groups in calibrated.sites.parts.items():
        say(f"sensitivity: {part}")
        sites = calibrated.sites.only(groups)
        report = validation.drift(calibrated, sites)
        sensitivities.append(
            Sensitivity(
                part,
                report.mean,
                report.worst.drift,
                report.unrounded_to_reference,
                error_of(report) - base,
                shares.macs(sites),
                shares.bytes(sites),
            )
        )
    return sorted(sensitivities, key=lambda each: -each.excess_error)


def error_of(report: DriftReport) -> float:
    """Mean squared difference from the reference before rounding, in 8-bit steps squared; infinite at a fault.

    Of the photos alone: a hard image at fault changes nothing here, and is the verdict's.
    """
    if report.faults or math.isnan(report.unrounded_to_reference):
        return math.inf
    return PEAK**2 * 10.0 ** (-report.unrounded_to_reference / 10.0)


def as_json(sensitivities: Sequence[Sensitivity]) -> list[dict[str, Any]]:
    """The ranking in JSON's types; null for what is not finite."""
    return [json_ready(asdict(each)) for each in sensitivities]
