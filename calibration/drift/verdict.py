"""The budget and the verdict of a drift report, the same for export.py, bench.py and the Python interface.

:meth:`defian_edge.calibration.drift.report.DriftReport.verdict` judges.
"""

from __future__ import annotations

from dataclasses import dataclass

from defian_edge.runtime.verify.budget import Limits


@dataclass(frozen=True)
class DriftBudget(Limits):
    """Limits in dB; None for no limit. ``drift`` and ``psnr_to_reference`` hold for every photo.

    Attributes:
        mean_drift: what the photos may lose in the mean.

    Raises:
        DefianError: a limit is negative or no number.
    """

    mean_drift: float | None = None

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in (self.drift, self.psnr_to_reference, self.mean_drift))


@dataclass(frozen=True)
class DriftVerdict:
    """Whether a variant may be used.

    Attributes:
        variant: its name.
        reasons: why not, in words: guards that fired, the worst first of what is over a limit; empty if it may.
    """

    variant: str
    reasons: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no guard fired and every limit is kept."""
        return not self.reasons

    @property
    def sentences(self) -> list[str]:
        """The reasons, each with the variant's name."""
        return [f"{self.variant}: {reason}" for reason in self.reasons]

    def __str__(self) -> str:
        return "\n".join(self.sentences) or f"{self.variant}: within the budget"
