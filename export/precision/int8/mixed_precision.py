"""Which parts of the network may be INT8: the largest coverage within a drift budget, every step of it measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from defian_edge.export.precision.int8.sensitivity import rank
from defian_edge.export.precision.search import fewest_left_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from defian_edge.calibration.drift.report import DriftReport
    from defian_edge.export.precision.int8.calibrate import Calibrated
    from defian_edge.export.precision.int8.sensitivity import Sensitivity, Validation
    from defian_edge.export.precision.int8.shares import Shares
    from defian_edge.export.precision.int8.sites import Sites


@dataclass(frozen=True)
class MixedPrecision:
    """How much of the network some sites make INT8.

    Attributes:
        groups: what is INT8.
        dropped: groups that stay FP16 to keep the budget, the most harmful first.
        mac_share: INT8 share of all convolutions' MACs.
        byte_share: share of the bytes that all feature maps of C channels have in FP16, of those that are INT8 for
            every reader.
        validation: summary of the drift on the validation photos; empty if it was not measured.
    """

    groups: tuple[str, ...]
    dropped: tuple[str, ...]
    mac_share: float
    byte_share: float
    validation: dict[str, Any]


def choose(
    calibrated: Calibrated,
    validation: Validation,
    shares: Shares,
    budget: float | None,
    sensitivities: Sequence[Sensitivity] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[MixedPrecision, list[Sensitivity]]:
    """A coverage whose measured drift on every validation photo stays within the budget, as large as was found.

    Groups are left out in the order of sensitivity per share of MACs and bytes, as few of them as
    :func:`~export.precision.search.fewest_left_out` finds. Every step is measured, not summed up from the groups.

    Args:
        calibrated: what can be INT8.
        validation: where drift is measured.
        shares: what a group covers.
        budget: dB per image; None takes everything.
        sensitivities: the ranking if there is one; it is made only if the full coverage exceeds the budget.
        say: told what is being done.
    """
    everything = calibrated.sites
    report = validation.drift(calibrated, everything)
    known = list(sensitivities or [])
    if budget is None or report.verdict(budget).passed:
        return _mixed_precision(shares, everything, (), report), known
    known = known or rank(calibrated, validation, shares, say)
    alone = [each for each in known if each.group in everything.groups]
    order = [each.group for each in sorted(alone, key=lambda each: -each.excess_error / _gain(each))]

    def tried(groups: Sequence[str]) -> tuple[tuple[Sites, DriftReport], bool]:
        sites = everything.only(frozenset(groups))
        report = validation.drift(calibrated, sites)
        say(f"mixed precision: {len(groups)} of {len(order)} groups, worst drift {report.worst.drift:.4f} dB")
        return (sites, report), report.verdict(budget).passed

    alone_within = {each.group for each in alone if each.worst_drift_db <= budget}
    sites, report = fewest_left_out(order, alone_within, tried)
    return _mixed_precision(shares, sites, order, report), known


def _gain(sensitivity: Sensitivity) -> float:
    return max(sensitivity.mac_share + sensitivity.byte_share, 1e-6)


def _mixed_precision(shares: Shares, chosen: Sites, order: Sequence[str], report: DriftReport) -> MixedPrecision:
    summary = {key: value for key, value in report.summary().items() if key != "images"}
    dropped = tuple(group for group in order if group not in chosen.groups)
    return MixedPrecision(chosen.groups, dropped, shares.macs(chosen), shares.bytes(chosen), summary)
