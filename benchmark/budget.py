"""Which candidates exceed the budgets, in sentences; the exit status is 1 if there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from defian_edge.benchmark.measure.quality import Quality


@dataclass(frozen=True)
class Budget:
    """Limits in dB; None for no limit.

    Attributes:
        drift: PSNR-Y that any one image may lose against the reference.
        mean_drift: what the images may lose in the mean.
        tile_drift: what any one image may lose in tiles against the same candidate in one piece.
        psnr_to_reference: least PSNR against the reference's output.

    Raises:
        DefianError: a limit is negative or no number.
    """

    drift: float | None = None
    mean_drift: float | None = None
    tile_drift: float | None = None
    psnr_to_reference: float | None = None

    def __post_init__(self) -> None:
        if any(limit is not None and not limit >= 0.0 for limit in self._limits):
            raise DefianError("Expected budgets of 0 dB or more.")

    @property
    def _limits(self) -> tuple[float | None, ...]:
        return self.drift, self.mean_drift, self.tile_drift, self.psnr_to_reference

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in self._limits)

    def exceeded(self, qualities: Mapping[str, Quality]) -> list[str]:
        """What exceeds a limit, and every image on which a guard fired."""
        return [sentence for name, quality in qualities.items() for sentence in self._of(name, quality)]

    def _of(self, name: str, quality: Quality) -> list[str]:
        report, tiled = quality.report, quality.tiled
        sentences = [f"{name}: {image.name}: {image.fault}." for image in report.faults]
        if self.drift is not None:
            sentences += [
                f"{name}: {image.name} lost {image.drift:.4f} dB of at most {self.drift:g}."
                for image in report.over(self.drift)
            ]
        if self.mean_drift is not None and report.mean > self.mean_drift:
            sentences.append(f"{name}: lost {report.mean:.4f} dB in the mean of at most {self.mean_drift:g}.")
        if self.tile_drift is not None and tiled is not None:
            sentences += [
                f"{name}: {image.name} lost {image.drift:.4f} dB in tiles of at most {self.tile_drift:g}."
                for image in tiled.over(self.tile_drift)
            ]
        least = self.psnr_to_reference
        if least is not None and report.psnr_to_reference < least:
            sentences.append(
                f"{name}: {report.psnr_to_reference:.2f} dB against the reference's output of at least {least:g}."
            )
        return sentences
