"""Which parts of the network may be INT8: the largest coverage within a drift budget, every step of it measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from defian_edge.export.precision.int8.sensitivity import rank

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

    Groups are left out in the order of sensitivity per share of MACs and bytes; how many must go is found by
    bisection. Then each of them that keeps the budget alone, the cheapest first, is taken in again if the budget still
    holds. Every step is measured, not summed up from the groups. Drift need not grow with the coverage, so that no
    short search is sure to find the largest of all; but to this one none of the groups that were tried could be added.

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

    def measured(groups: Sequence[str]) -> tuple[Sites, DriftReport]:
        sites = everything.only(frozenset(groups))
        report = validation.drift(calibrated, sites)
        say(f"mixed precision: {len(groups)} of {len(order)} groups, worst drift {report.worst.drift:.4f} dB")
        return sites, report

    fits, fails = len(order), 0
    best = measured([])
    while fits - fails > 1:
        middle = (fits + fails) // 2
        tried = measured(order[middle:])
        if tried[1].verdict(budget).passed:
            fits, best = middle, tried
        else:
            fails = middle
    alone_within = {each.group for each in alone if each.worst_drift_db <= budget}
    left_out = order[: fits - 1]  # the one at fits - 1 has just failed
    for group in [group for group in reversed(left_out) if group in alone_within]:
        tried = measured([*best[0].groups, group])
        if tried[1].verdict(budget).passed:
            best = tried
    return _mixed_precision(shares, best[0], order, best[1]), known


def _gain(sensitivity: Sensitivity) -> float:
    return max(sensitivity.mac_share + sensitivity.byte_share, 1e-6)


def _mixed_precision(shares: Shares, chosen: Sites, order: Sequence[str], report: DriftReport) -> MixedPrecision:
    summary = {key: value for key, value in report.summary().items() if key != "images"}
    dropped = tuple(group for group in order if group not in chosen.groups)
    return MixedPrecision(chosen.groups, dropped, shares.macs(chosen), shares.bytes(chosen), summary)
