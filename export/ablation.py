"""``python -m export.ablation --model defian-s-x2``: what each part of the INT8 recipe is worth, one row per choice."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from calibration.drift import DriftReport, measure_drift
from calibration.evaluator import GraphEvaluator
from calibration.photos import calibration_set, evaluation_pairs
from calibration.ranges import RangeMethod
from export.precision.recipe import HELPERS, Recipe
from export.precision.sites import Scope
from export.quantisation import calibrate
from export.reference import reference_outputs
from export.rewrites import apply_rewrites
from export.trace import trace
from models.bundled import resolve_model
from models.checkpoint import load_checkpoint
from runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Row:
    """One recipe and what it cost; ``seconds`` are those of calibration and graph, from the cache where ``cached``."""

    label: str
    report: DriftReport
    seconds: float
    cached: bool


def recipes() -> Iterator[tuple[str, Recipe]]:
    """Every estimator, every helper left out, both scopes."""
    base = Recipe()
    for scope in Scope:
        for method in RangeMethod:
            yield f"{scope.value}, {method.value}", replace(base, scope=scope, method=method)
    for name, field in HELPERS.items():
        yield f"convolutions, mse, without {name}", replace(base, **{field: False})
    yield "convolutions, mse, no helper", replace(base, **dict.fromkeys(HELPERS.values(), False))


def ablate(model: str, calibration: Path | None, lr: Path | None, hr: Path | None, patches: int) -> Iterator[Row]:
    """Trace and rewrite once, then measure every recipe on the same images.

    Raises:
        DefianError: model, photos or images cannot be used.
    """
    checkpoint = load_checkpoint(resolve_model(model))
    scale = checkpoint.architecture.scale
    pairs = evaluation_pairs(scale, None, lr, hr)
    chosen = calibration_set(calibration, scale, patches)
    graph = trace(checkpoint)
    apply_rewrites(graph)
    references = reference_outputs(checkpoint.network(), (pair.lr for pair in pairs))
    for label, recipe in recipes():
        start = time.monotonic()
        calibrated = calibrate(graph, chosen, recipe)
        variant = calibrated.variant()
        seconds = time.monotonic() - start
        report = measure_drift(label, GraphEvaluator(variant.model), references, pairs, scale)
        yield Row(label, report, seconds, calibrated.record["cache"] == "hit")


def main() -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m export.ablation", description=__doc__)
    parser.add_argument("--model", required=True, help="bundled name, or path of a checkpoint")
    parser.add_argument("--calibration", type=Path, help="folder of HR photos; default: bundled")
    parser.add_argument("--patches", type=int, default=48, help="calibration patches")
    parser.add_argument("--lr", type=Path, help="folder of LR images, with --hr; default: bundled photos")
    parser.add_argument("--hr", type=Path, help="folder of HR images of the same names")
    options = parser.parse_args()
    table = Table("recipe", "mean drift dB", "worst drift dB", "worst image", "PSNR to reference dB", "seconds")
    try:
        for row in ablate(options.model, options.calibration, options.lr, options.hr, options.patches):
            worst = row.report.worst
            table.add_row(
                row.label, f"{row.report.mean:+.4f}", f"{worst.drift:+.4f}", worst.name,
                f"{row.report.psnr_to_reference:.2f}", f"{row.seconds:.1f}{' (cache)' if row.cached else ''}",
            )  # fmt: skip
    except DefianError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
