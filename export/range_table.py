"""What an export prints of INT8's ranges on the images that drift is measured on: whether calibration covered them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.runtime.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from defian_edge.calibration.drift.report import DriftReport, ImageDrift
    from defian_edge.export.artefacts import Artefact

SHOWN = 10
"""Images in the table at most; the manifest has all."""


def overshoot_table(artefacts: Sequence[Artefact]) -> Table | None:
    """Per image the INT8 range that suits it least, those that suit least first; None without INT8."""
    report = next((artefact.drift for artefact in artefacts if artefact.drift and _measured(artefact.drift)), None)
    if report is None:
        return None
    found = sorted(_measured(report), key=_weight, reverse=True)
    which = f"the {SHOWN} of {len(found)} images that suit them least" if len(found) > SHOWN else "on each image"
    table = Table(
        f"Ranges of {report.variant}, {which}",
        ("image", "drift dB", "tensor", "reaches", "clipped", "clipping : rounding"),
        words=("image", "tensor"),
    )
    for image in found[:SHOWN]:
        seen = image.overshoot
        if seen is not None:
            cells = (f"{seen.times:.2f} x range", f"{100 * seen.share:.4f}%", f"{seen.clipping:.2f}")
            table.add(image.name, f"{image.drift:.4f}", seen.tensor, *cells)
    return table


def overshoot_lines(artefacts: Sequence[Artefact], calibration: Path | None) -> Iterator[str]:
    """A warning if calibration did not cover the images of the evaluation, and which of them would help most.

    Args:
        artefacts: of one export.
        calibration: the user's folder; None for the bundled pictures.
    """
    for artefact in artefacts:
        report = artefact.drift
        if report is None or not report.uncovered:
            continue
        names = ", ".join(image.name for image in report.uncovered[:SHOWN])
        into = "--calibration FOLDER" if calibration is None else str(calibration)
        yield (
            f"WARNING: {report.variant}'s ranges do not cover {len(report.uncovered)} of {len(report.images)} images: "
            f"clipping costs more than rounding there. Pictures like these would help most in {into}, "
            f"the first most: {names}."
        )


def _measured(report: DriftReport) -> list[ImageDrift]:
    return [image for image in report.images if image.overshoot is not None]


def _weight(image: ImageDrift) -> tuple[float, float]:
    return (0.0, 0.0) if image.overshoot is None else (image.overshoot.clipping, image.overshoot.times)
