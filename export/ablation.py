"""``python -m export.ablation --model defian-s-x2``: what each part of the INT8 recipe is worth, one row per choice."""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
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
    from collections.abc import Iterator, Sequence

    from calibration.photos import CalibrationSet, EvaluationPair
    from models.checkpoint import Checkpoint


@dataclass(frozen=True)
class Row:
    """One recipe and what it cost.

    Attributes:
        label: the recipe.
        report: drift against the PyTorch reference.
        unrounded: PSNR of the values before rounding to 8 bits against those of the FP32 graph, dB.
        seconds: calibration and graph.
        cached: whether the measurements came from the cache.
    """

    label: str
    report: DriftReport
    unrounded: float
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


def ablate(
    checkpoint: Checkpoint, chosen: CalibrationSet, pairs: Sequence[EvaluationPair], wanted: str = ""
) -> Iterator[Row]:
    """Trace and rewrite once, then measure every recipe whose label contains ``wanted`` on the same images."""
    graph = trace(checkpoint)
    apply_rewrites(graph)
    references = reference_outputs(checkpoint.network(), (pair.lr for pair in pairs))
    full = [GraphEvaluator(graph)(pair.lr).values for pair in pairs]
    for label, recipe in recipes():
        if wanted not in label:
            continue
        start = time.monotonic()
        calibrated = calibrate(graph, chosen, recipe)
        variant = calibrated.variant()
        seconds = time.monotonic() - start
        evaluator = GraphEvaluator(variant.model)
        report = measure_drift(label, evaluator, references, pairs, checkpoint.architecture.scale)
        errors = [np.mean((evaluator(pair.lr).values - values) ** 2) for pair, values in zip(pairs, full, strict=True)]
        unrounded = 10.0 * math.log10(255.0**2 / float(np.mean(errors)))
        yield Row(label, report, unrounded, seconds, calibrated.record["cache"] == "hit")


def main() -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m export.ablation", description=__doc__)
    parser.add_argument("--model", required=True, help="bundled name, or path of a checkpoint")
    parser.add_argument("--calibration", type=Path, help="folder of HR photos; default: bundled")
    parser.add_argument("--patches", type=int, default=48, help="calibration patches")
    parser.add_argument("--lr", type=Path, help="folder of LR images, with --hr; default: bundled photos")
    parser.add_argument("--hr", type=Path, help="folder of HR images of the same names")
    parser.add_argument("--only", default="", help="rows whose label contains this")
    options = parser.parse_args()
    table = Table("recipe", "mean dB", "worst dB", "worst image", "8-bit dB", "unrounded dB", "seconds")
    try:
        checkpoint = load_checkpoint(resolve_model(options.model))
        scale = checkpoint.architecture.scale
        pairs = evaluation_pairs(scale, None, options.lr, options.hr)
        chosen = calibration_set(options.calibration, scale, options.patches)
        for row in ablate(checkpoint, chosen, pairs, options.only):
            worst = row.report.worst
            table.add_row(
                row.label, f"{row.report.mean:+.4f}", f"{worst.drift:+.4f}", worst.name,
                f"{row.report.psnr_to_reference:.2f}", f"{row.unrounded:.2f}",
                f"{row.seconds:.1f}{' (cache)' if row.cached else ''}",
            )  # fmt: skip
    except DefianError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
