"""Which parts of the network may be INT8: the measured harm of each, and the largest coverage within a budget."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.drift import DriftReport, json_ready, measure_drift
from calibration.evaluator import GraphEvaluator
from calibration.metrics import PEAK
from export.emit import nodes_of_type
from export.precision.sites import Scope, Sites, find_sites, origin_of
from export.statistics import macs_of, with_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from calibration.evaluator import Evaluation
    from calibration.photos import EvaluationPair
    from export.quantisation import Calibrated


@dataclass(frozen=True)
class Validation:
    """What harm is measured on: photos that calibration did not use, and the PyTorch reference's outputs for them."""

    pairs: Sequence[EvaluationPair]
    references: Sequence[Evaluation]
    scale: int

    def drift(self, calibrated: Calibrated, sites: Sites) -> DriftReport:
        """Drift of the INT8 graph with these sites."""
        evaluator = GraphEvaluator(calibrated.variant(sites).model)
        return measure_drift("int8", evaluator, self.references, self.pairs, self.scale)


@dataclass(frozen=True)
class Harm:
    """What one group costs when it alone is INT8.

    Attributes:
        group: its name.
        mean_drift_db, worst_drift_db: against the PyTorch reference.
        unrounded_to_reference: PSNR of the values before rounding, dB; the FP16 graph has a finite one as well.
        excess_error: mean squared difference of those from the reference's beyond that of the FP16 graph, in 8-bit
            steps squared.
        mac_share, byte_share: of all convolutions' MACs and of the feature maps' bytes.
    """

    group: str
    mean_drift_db: float
    worst_drift_db: float
    unrounded_to_reference: float
    excess_error: float
    mac_share: float
    byte_share: float


@dataclass(frozen=True)
class Coverage:
    """How much of the network some sites make INT8.

    Attributes:
        groups: what is INT8.
        dropped: groups that stay FP16 to keep the budget, the most harmful first.
        mac_share: INT8 share of all convolutions' MACs.
        byte_share: share of the bytes of all feature maps of C channels that are INT8 for every reader.
        validation: summary of the drift on the validation photos; empty if it was not measured.
    """

    groups: tuple[str, ...]
    dropped: tuple[str, ...]
    mac_share: float
    byte_share: float
    validation: dict[str, Any]


class Shares:
    """MACs and bytes behind every site, counted on the graph itself at one shape."""

    def __init__(self, model: ir.Model, shape: tuple[int, int, int]) -> None:
        concrete = with_shape(model, shape)
        self._macs = {node.name or str(index): macs_of(node) for index, node in enumerate(concrete.graph)}
        self._total_macs = sum(self._macs.values())
        everything = find_sites(model, Scope.FEATURES)
        readers = {site.tensor for site in everything.convolutions}
        values = {value.name: value for node in concrete.graph for value in node.outputs}
        self._elements = {
            site.tensor: int(np.prod(values[site.tensor].shape.numpy()))  # type: ignore[union-attr]
            for site in everything.features
        }
        uses = {node.inputs[0].name: node for node in nodes_of_type(model.graph, "Conv") if node.inputs[0] is not None}
        self._private = {
            tensor
            for tensor in self._elements
            if tensor in readers and len(uses[tensor].inputs[0].uses()) == 1  # type: ignore[union-attr]
        }

    def macs(self, sites: Sites) -> float:
        """INT8 share of the MACs."""
        return sum(self._macs[site.node] for site in sites.convolutions) / self._total_macs

    def bytes(self, sites: Sites) -> float:
        """Share of the feature maps' elements that every reader reads as INT8."""
        quantised = {origin_of(site.tensor) for site in sites.features}
        quantised |= {site.tensor for site in sites.convolutions if site.tensor in self._private}
        total = sum(self._elements.values())
        return sum(size for name, size in self._elements.items() if name in quantised) / total if total else 0.0


def rank(
    calibrated: Calibrated, validation: Validation, shares: Shares, say: Callable[[str], None] = lambda _: None
) -> list[Harm]:
    """Measure every group alone; the most harmful first."""
    base = _error(validation.drift(calibrated, Sites((), ())))
    base = base if math.isfinite(base) else 0.0  # nothing to subtract from a graph at fault without any INT8
    harms = []
    for group in calibrated.sites.groups:
        say(f"sensitivity: {group}")
        sites = calibrated.sites.only(frozenset({group}))
        report = validation.drift(calibrated, sites)
        harms.append(
            Harm(
                group,
                report.mean,
                report.worst.drift,
                report.unrounded_to_reference,
                _error(report) - base,
                shares.macs(sites),
                shares.bytes(sites),
            )
        )
    return sorted(harms, key=lambda harm: -harm.excess_error)


def _error(report: DriftReport) -> float:
    """Mean squared difference from the reference before rounding, in 8-bit steps squared; infinite at a fault."""
    if report.faults or math.isnan(report.unrounded_to_reference):
        return math.inf
    return PEAK**2 * 10.0 ** (-report.unrounded_to_reference / 10.0)


def choose(
    calibrated: Calibrated,
    validation: Validation,
    shares: Shares,
    budget: float | None,
    harms: Sequence[Harm] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Coverage, list[Harm]]:
    """The largest coverage whose measured drift on every validation photo stays within the budget.

    Groups are left out in the order of harm per share of MACs and bytes; how many must go is found by
    bisection, and every step of it is measured, not summed up from the groups. The ranking is made only if
    the full coverage exceeds the budget, or was made already.

    Args:
        calibrated: what can be INT8.
        validation: where drift is measured.
        shares: what a group covers.
        budget: dB per image; None takes everything.
        harms: the ranking if there is one.
        say: told what is being done.
    """
    everything = calibrated.sites
    report = validation.drift(calibrated, everything)
    known = list(harms or [])
    if budget is None or _within(report, budget):
        return _coverage(shares, everything, (), report), known
    known = known or rank(calibrated, validation, shares, say)
    order = [harm.group for harm in sorted(known, key=lambda harm: -harm.excess_error / _gain(harm))]
    fits, fails = len(order), 0
    best, best_report = Sites((), ()), validation.drift(calibrated, Sites((), ()))
    while fits - fails > 1:
        middle = (fits + fails) // 2
        kept = everything.only(frozenset(order[middle:]))
        report = validation.drift(calibrated, kept)
        say(f"coverage: without {middle} of {len(order)} groups, worst drift {report.worst.drift:.4f} dB")
        if _within(report, budget):
            fits, best, best_report = middle, kept, report
        else:
            fails = middle
    return _coverage(shares, best, tuple(order[:fits]), best_report), known


def _within(report: DriftReport, budget: float) -> bool:
    return not report.faults and not report.over(budget)


def _gain(harm: Harm) -> float:
    return max(harm.mac_share + harm.byte_share, 1e-6)


def _coverage(shares: Shares, sites: Sites, dropped: tuple[str, ...], report: DriftReport) -> Coverage:
    summary = {key: value for key, value in report.summary().items() if key != "images"}
    return Coverage(sites.groups, dropped, shares.macs(sites), shares.bytes(sites), summary)


def as_json(harms: Sequence[Harm]) -> list[dict[str, Any]]:
    """The ranking in JSON's types; null for what is not finite."""
    return [json_ready(asdict(harm)) for harm in harms]
