"""What a variant of the network costs in picture quality, measured against the PyTorch reference."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.calibration.drift.metrics import psnr, psnr_y, ssim_y
from defian_edge.calibration.drift.verdict import DriftBudget, DriftVerdict
from defian_edge.runtime.verify.figures import CEILING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from defian_edge.calibration.drift.evaluation import Evaluation
    from defian_edge.calibration.drift.hard_images import HardPicture
    from defian_edge.calibration.drift.overshoot import Overshoot
    from defian_edge.calibration.drift.reference import Reference
    from defian_edge.calibration.photos import EvaluationPair

BLACK = 2
"""A frame whose brightest value is at most this is black."""


@dataclass(frozen=True)
class ImageDrift:
    """One image: the variant and the reference, each against HR, and the variant against the reference.

    Attributes:
        psnr: PSNR-Y of the variant against HR, dB.
        reference_psnr: PSNR-Y of the PyTorch reference against HR, dB.
        ssim, reference_ssim: SSIM-Y of both against HR.
        psnr_to_reference: PSNR over RGB of the variant against the reference's output, dB, no border cut.
        fault: what a guard found: values that are not finite, or a black frame; empty if nothing.
        unrounded_to_reference: as ``psnr_to_reference``, of the values before they were rounded to 8 bits; NaN
            where either has none to show. Two roundings turn an error of a tenth of a step into a whole step in every
            tenth pixel, so this is the one to compare methods by.
        overshoot: the INT8 range that suits the image least; None of a variant without, or that shows none.
    """

    name: str
    psnr: float
    reference_psnr: float
    ssim: float
    reference_ssim: float
    psnr_to_reference: float
    fault: str = ""
    unrounded_to_reference: float = math.nan
    overshoot: Overshoot | None = None

    @property
    def drift(self) -> float:
        """Loss of PSNR-Y against the reference in dB; positive is worse, infinite if a guard fired.

        Both count with :data:`runtime.verify.figures.CEILING` at most: of a flat photo the reference may be exact, and
        infinitely good.
        """
        if self.fault:
            return math.inf
        return min(self.reference_psnr, CEILING) - min(self.psnr, CEILING)


@dataclass(frozen=True)
class DriftReport:
    """Drift of one variant over a set of images.

    ``hard`` lists what a guard found on images no photo resembles, of which ``hard_run`` were run; see
    :mod:`calibration.drift.hard_images`.
    """

    variant: str
    images: tuple[ImageDrift, ...]
    hard: tuple[str, ...] = ()
    hard_run: int = 0

    @property
    def mean(self) -> float:
        """Mean drift in dB."""
        return float(np.mean([image.drift for image in self.images]))

    @property
    def worst(self) -> ImageDrift:
        """The image that lost most."""
        return max(self.images, key=lambda image: image.drift)

    @property
    def mean_psnr(self) -> float:
        """Mean PSNR-Y of the variant against HR, dB."""
        return float(np.mean([image.psnr for image in self.images]))

    @property
    def mean_ssim(self) -> float:
        """Mean SSIM-Y of the variant against HR."""
        return float(np.mean([image.ssim for image in self.images]))

    @property
    def psnr_to_reference(self) -> float:
        """PSNR against the reference's output in dB, from the mean of the squared errors."""
        return _pooled(image.psnr_to_reference for image in self.images)

    @property
    def unrounded_to_reference(self) -> float:
        """The same of the values before rounding to 8 bits; NaN if an image has none."""
        return _pooled(image.unrounded_to_reference for image in self.images)

    @property
    def faults(self) -> list[ImageDrift]:
        """Images on which a guard fired."""
        return [image for image in self.images if image.fault]

    @property
    def overshoots(self) -> list[tuple[Overshoot, ImageDrift]]:
        """Images of which it is known, with the INT8 range that suits each least; those that suit least first."""
        found = [(image.overshoot, image) for image in self.images if image.overshoot is not None]
        return sorted(found, key=lambda pair: pair[0].weight, reverse=True)

    @property
    def uncovered(self) -> list[ImageDrift]:
        """Images of which an INT8 range clips more than rounding costs, the worst first."""
        return [image for seen, image in self.overshoots if seen.clipping > 1.0]

    def over(self, budget: float) -> list[ImageDrift]:
        """Images that lost more than ``budget`` dB, the worst first."""
        beyond = [image for image in self.images if not image.drift <= budget]  # NaN is within no budget
        return sorted(beyond, key=lambda image: -image.drift)

    def verdict(self, budget: DriftBudget | float | None = None) -> DriftVerdict:
        """Whether the variant may be used.

        A guard that fired, on a photo or on a hard image, always refuses. What is no number is within no budget.

        Args:
            budget: limits; a number for the dB that any photo may lose; None for the guards alone.
        """
        limits = budget if isinstance(budget, DriftBudget) else DriftBudget(drift=budget)
        reasons = [f"{image.name}: {image.fault}" for image in self.faults]
        reasons += [f"hard image {fault}" for fault in self.hard]
        for image in sorted(self.images, key=lambda image: -image.drift):
            if not image.fault:
                reasons += [f"{image.name} {said}" for said in limits.beyond(image.drift, image.psnr_to_reference)]
        if limits.mean_drift is not None and not self.mean <= limits.mean_drift:
            reasons.append(f"lost {self.mean:.4f} dB in the mean of at most {limits.mean_drift:g}")
        return DriftVerdict(self.variant, tuple(reasons))

    def summary(self) -> dict[str, Any]:
        """What the manifest keeps, in JSON's types."""
        return {
            "images": [json_ready(asdict(image) | {"drift": image.drift}) for image in self.images],
            "mean_drift_db": _finite(self.mean),
            "worst_drift_db": _finite(self.worst.drift),
            "worst_image": self.worst.name,
            "mean_psnr_y": _finite(self.mean_psnr),
            "mean_ssim_y": _finite(self.mean_ssim),
            "psnr_to_reference": _finite(self.psnr_to_reference),
            "unrounded_to_reference": _finite(self.unrounded_to_reference),
            "faults_on_hard_images": list(self.hard),
            "hard_images_run": self.hard_run,
        }


def measure_drift(variant: str, evaluate: Callable[[np.ndarray], Evaluation], reference: Reference) -> DriftReport:
    """Evaluate a variant on every photo and every hard image of the reference.

    Args:
        variant: its name in reports.
        evaluate: uint8 RGB [H, W, 3] -> :class:`~defian_edge.calibration.drift.evaluation.Evaluation`.
        reference: the images, and what PyTorch made of them.
    """
    pairs = reference.pairs
    report = report_of(variant, (evaluate(pair.lr) for pair in pairs), reference.results, pairs, reference.scale)
    return replace(report, hard=faults_on_hard_images(evaluate, reference.hard), hard_run=len(reference.hard))


def faults_on_hard_images(
    evaluate: Callable[[np.ndarray], Evaluation], pictures: Iterable[HardPicture]
) -> tuple[str, ...]:
    """``image: fault`` for every hard image on which a guard fires: not finite, or black where the reference is not."""
    found = ((each.name, fault_of(evaluate(each.lr), each.reference)) for each in pictures)
    return tuple(f"{name}: {fault}" for name, fault in found if fault)


def report_of(
    variant: str,
    results: Iterable[Evaluation],
    references: Sequence[Evaluation],
    pairs: Sequence[EvaluationPair],
    scale: int,
) -> DriftReport:
    """The photos' part of a report from results that are at hand, one per pair."""
    images = []
    for pair, result, reference in zip(pairs, results, references, strict=True):
        both_show = result.values.size > 0 and reference.values.size > 0
        images.append(
            ImageDrift(
                name=pair.name,
                psnr=psnr_y(result.image, pair.hr, scale),
                reference_psnr=psnr_y(reference.image, pair.hr, scale),
                ssim=ssim_y(result.image, pair.hr, scale),
                reference_ssim=ssim_y(reference.image, pair.hr, scale),
                psnr_to_reference=psnr(result.image, reference.image),
                fault=fault_of(result, reference.image),
                unrounded_to_reference=psnr(result.values, reference.values) if both_show else math.nan,
                overshoot=result.overshoot,
            )
        )
    return DriftReport(variant, tuple(images))


def fault_of(result: Evaluation, reference: np.ndarray) -> str:
    """What a guard says of a result: values that are not finite, or black where the reference is not; else empty."""
    if not result.finite:
        return "NaN or Inf before clamping"
    if result.image.max() <= BLACK < reference.max():
        return "black frame"
    return ""


def _pooled(each: Iterable[float]) -> float:
    """PSNR in dB of the mean of the images' squared errors."""
    mean = float(np.mean([10.0 ** (-one / 10.0) for one in each]))
    return math.inf if mean == 0.0 else -10.0 * math.log10(mean)


def _finite(value: float) -> float | None:
    """JSON has neither infinity nor NaN; both become null."""
    return value if math.isfinite(value) else None


def json_ready(values: dict[str, Any]) -> dict[str, Any]:
    """The same with null for floats that are not finite."""
    return {key: _finite(value) if isinstance(value, float) else value for key, value in values.items()}
