"""``python -m tools.unseen``: what INT8 costs on many pictures that calibration never saw, and where the worst clip.

Old method beside new, in both scopes: ranges of least mean squared error over all photos, and those that
``export.py`` takes. Pictures are cropped in the middle and reduced by Pillow's bicubic. ``--drawn`` takes pictures
drawn by code in place of a folder's: of the kinds that calibration sees, but larger, and drawn anew. Of images that the
network itself restores to more than 42 dB a loss cannot be seen; they count for nothing but the least PSNR to the
reference.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from defian_edge.calibration.drawn import SEED, drawn_pictures
from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.report import DriftReport, ImageDrift, report_of
from defian_edge.calibration.photos import EvaluationPair, calibration_set
from defian_edge.calibration.ranges.estimators import RangeMethod
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import Scope
from defian_edge.export.range_table import OVERSHOOT_COLUMNS, overshoot_cells
from defian_edge.export.reference import reference_evaluations
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.trace.network import trace
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.arguments import count_of, path_of, text_of
from defian_edge.runtime.images import downscale, images_in, read_image
from tools.study import add_calibration, parsed, table_or_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from defian_edge.calibration.photos import CalibrationSet
    from defian_edge.models.checkpoint import Checkpoint

RESTORED = 42.0
"""PSNR-Y in dB of the reference, above which a loss cannot be seen."""
WORST = 10
METHODS = {"mse": {"method": RangeMethod.MSE, "residue": False, "alternate": False}, "as exported": {}}
"""Label -> what of the recipe is not as ``export.py`` has it."""


@dataclass
class Row:
    """One recipe and what it cost on each picture."""

    label: str
    evaluate: GraphEvaluator
    images: list[ImageDrift] = field(default_factory=list)

    @property
    def counted(self) -> list[ImageDrift]:
        """Images on which a loss can be seen."""
        return [image for image in self.images if image.reference_psnr <= RESTORED]

    def cells(self) -> tuple[str, ...]:
        """Label, images, mean, 95th and 99th percentile and worst loss in dB, the worst image, least PSNR."""
        drifts = np.array([image.drift for image in self.counted])
        figures = (drifts.mean(), np.percentile(drifts, 95), np.percentile(drifts, 99), drifts.max())
        least = min(image.unrounded_to_reference for image in self.images)
        worst = DriftReport(self.label, tuple(self.counted)).worst.name
        return self.label, str(len(drifts)), *(f"{figure:.4f}" for figure in figures), worst, f"{least:.1f}"


def recipes(method: str, scope: str) -> Iterator[tuple[str, Recipe]]:
    """Labels and recipes of both scopes, of those whose label contains both words."""
    for each in Scope:
        for label, changes in METHODS.items():
            if method in label and scope in each.value:
                yield f"{each.value}, {label}", replace(Recipe(scope=each), **changes)  # type: ignore[arg-type]


def drawn_pairs(scale: int, size: int) -> Iterator[EvaluationPair]:
    """Drawn pictures with their LR, others than those of the calibration."""
    for name, picture in drawn_pictures(size, SEED + 1):
        lr, hr = downscale(picture, scale)
        yield EvaluationPair(name, lr, hr)


def pairs_of(paths: Iterable[Path], scale: int, crop: int) -> Iterator[EvaluationPair]:
    """Pictures, their middle cropped, with their LR; one is in memory at a time."""
    for path in paths:
        picture = read_image(path)
        top, left = ((side - min(crop, side)) // 2 for side in picture.shape[:2])
        lr, hr = downscale(picture[top : top + crop, left : left + crop], scale)
        yield EvaluationPair(path.stem, lr, hr)


def measure(
    checkpoint: Checkpoint,
    chosen: CalibrationSet,
    pairs: Iterable[EvaluationPair],
    wanted: Iterable[tuple[str, Recipe]],
) -> list[Row]:
    """Make every recipe's graph, then run all of them picture by picture; only figures are kept."""
    graph, scale, network = trace(checkpoint), checkpoint.architecture.scale, checkpoint.network()
    apply_rewrites(graph)
    rows = [
        Row(label, GraphEvaluator(calibrate(graph, chosen, recipe).variant().model, ranges=True))
        for label, recipe in wanted
    ]
    for pair in pairs:
        reference = reference_evaluations(network, [pair.lr])
        for row in rows:
            row.images += report_of(row.label, [row.evaluate(pair.lr)], reference, [pair], scale).images
    return rows


def main() -> None:
    """Print both tables; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.unseen", description=__doc__)
    parser.add_argument("--model", required=True, type=text_of("--model"))
    pictures = parser.add_mutually_exclusive_group(required=True)
    folder = path_of("--pictures")
    pictures.add_argument("--pictures", type=folder, help="folder of HR pictures, searched recursively")
    pictures.add_argument("--drawn", action="store_true", help="pictures drawn by code")
    parser.add_argument("--every", type=count_of("--every", 1), default=1, help="take every so many-th of them")
    crop = count_of("--crop", 16, 50_000)
    parser.add_argument("--crop", type=crop, default=480, help="side of the middle that is used, in HR pixels")
    parser.add_argument("--method", default="", help="recipes whose label contains this")
    parser.add_argument("--scope", default="", help="scopes whose name contains this")
    add_calibration(parser)
    options = parsed(parser)
    table = Table("recipe", "images", "mean dB", "95 %", "99 %", "worst", "worst image", "least PSNR to reference")
    worst = Table("recipe", "image", "dB", "PSNR to reference", *OVERSHOOT_COLUMNS)
    with table_or_error(worst), table_or_error(table):
        checkpoint = load_checkpoint(resolve_model(options.model))
        scale = checkpoint.architecture.scale
        pairs = (
            drawn_pairs(scale, options.crop)
            if options.drawn
            else pairs_of(images_in(options.pictures)[:: options.every], scale, options.crop)
        )
        chosen = calibration_set(options.calibration, scale, options.patches)
        for row in measure(checkpoint, chosen, pairs, recipes(options.method, options.scope)):
            table.add_row(*row.cells())
            for image in sorted(row.counted, key=lambda image: -image.drift)[:WORST]:
                cells = () if image.overshoot is None else overshoot_cells(image.overshoot)
                least = f"{image.unrounded_to_reference:.1f}"
                worst.add_row(row.label, image.name, f"{image.drift:.4f}", least, *cells)


if __name__ == "__main__":
    main()
