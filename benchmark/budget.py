"""Which candidates exceed the budgets, in sentences; the exit status is 1 if there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.calibration.drift.verdict import DriftBudget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from defian_edge.benchmark.measure.quality import Quality


@dataclass(frozen=True)
class Budget(DriftBudget):
    """Limits of the drift, and of what tiles may cost.

    Attributes:
        tile_drift: what any one photo may lose in tiles against the same candidate in one piece, dB; None for no limit.

    Raises:
        DefianError: a limit is negative or no number.
    """

    tile_drift: float | None = None

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return self.tile_drift is not None or super().__bool__()

    def exceeded(self, qualities: Mapping[str, Quality]) -> list[str]:
        """What exceeds a limit, and every image on which a guard fired."""
        return [f"{sentence}." for quality in qualities.values() for sentence in self._of(quality)]

    def _of(self, quality: Quality) -> list[str]:
        report, tiled = quality.report, quality.tiled
        sentences = report.verdict(self).sentences
        if self.tile_drift is not None and tiled is not None:
            sentences += [
                f"{report.variant}: {image.name} lost {image.drift:.4f} dB in tiles of at most {self.tile_drift:g}"
                for image in tiled.over(self.tile_drift)
            ]
        return sentences
