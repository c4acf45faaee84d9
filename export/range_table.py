"""What an export prints of INT8's ranges on the images that drift is measured on: whether calibration covered them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.runtime.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from defian_edge.calibration.drift.overshoot import Overshoot
    from defian_edge.export.artefacts import Artefact

SHOWN = 10
"""Images in the table at most; the manifest has all."""
OVERSHOOT_COLUMNS = ("tensor", "reaches", "clipped", "clipping : rounding")
"""Heads of :func:`overshoot_cells`."""


def overshoot_table(artefacts: Sequence[Artefact]) -> Table | None:
    """Per image the INT8 range that suits it least, those that suit least first; None without INT8."""
    report = next((artefact.drift for artefact in artefacts if artefact.drift and artefact.drift.overshoots), None)
    if report is None:
        return None
    found = report.overshoots
    which = f"the {SHOWN} of {len(found)} images that suit them least" if len(found) > SHOWN else "on each image"
    table = Table(
        f"Ranges of {report.variant}, {which}", ("image", "drift dB", *OVERSHOOT_COLUMNS), words=("image", "tensor")
    )
    for seen, image in found[:SHOWN]:
        table.add(image.name, f"{image.drift:.4f}", *overshoot_cells(seen))
    return table


def overshoot_cells(seen: Overshoot) -> tuple[str, ...]:
    """What stands under :data:`OVERSHOOT_COLUMNS`."""
    return seen.tensor, f"{seen.times:.2f} x range", f"{100 * seen.share:.4f}%", f"{seen.clipping:.2f}"


def overshoot_lines(artefacts: Sequence[Artefact], calibration: Path | None) -> Iterator[str]:
    """A warning if calibration did not cover the images of the evaluation, and which of them would help most.

    Args:
        artefacts: of one export.
        calibration: the user's folder; None for the bundled pictures.
    """
    for artefact in artefacts:
        report = artefact.drift
        uncovered = [] if report is None else report.uncovered
        if report is None or not uncovered:
            continue
        names = ", ".join(image.name for image in uncovered[:SHOWN])
        into = "--calibration FOLDER" if calibration is None else str(calibration)
        yield (
            f"WARNING: {report.variant}'s ranges do not cover {len(uncovered)} of {len(report.images)} images: "
            f"clipping costs more than rounding there. Pictures like these would help most in {into}, "
            f"the first most: {names}."
        )
