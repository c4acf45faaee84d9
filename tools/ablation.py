"""``python -m tools.ablation --model defian-s-x2``: what each part of the INT8 recipe is worth, one row per choice."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.report import DriftReport, report_of
from defian_edge.calibration.photos import calibration_set, evaluation_pairs
from defian_edge.calibration.ranges.estimators import RangeMethod
from defian_edge.export.graph import copy_of, nodes_of_type, set_constant, settle
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.recipe import HELPERS, Recipe
from defian_edge.export.precision.int8.sites import Scope, Sites
from defian_edge.export.reference import reference_evaluations
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.tables import DRIFT_COLUMNS, drift_cells
from defian_edge.export.trace.network import trace
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.arguments import shown
from defian_edge.runtime.errors import DefianError
from tools.study import add_calibration, add_model_and_images, parsed, table_or_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from defian_edge.calibration.photos import CalibrationSet, EvaluationPair
    from defian_edge.export.precision.int8.calibrate import Calibrated
    from defian_edge.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class Trial:
    """One row to measure: a recipe, and what is done to its result before the graph is made."""

    label: str
    recipe: Recipe
    change: Callable[[Calibrated], Calibrated] = lambda calibrated: calibrated


@dataclass(frozen=True)
class Row:
    """One trial and what it cost.

    Attributes:
        label: the trial.
        report: drift against the PyTorch reference.
        constant: share of the power of the error before rounding that is one constant per image, channel and phase of
            the upscaling, all that the best correction of the last convolution's biases could remove.
        seconds: calibration and graph.
        cached: whether the measurements came from the cache.
    """

    label: str
    report: DriftReport
    constant: float
    seconds: float
    cached: bool


def trials() -> Iterator[Trial]:
    """Every estimator and every helper left out, in both scopes; then what learning could still gain."""
    base = Recipe()
    method = base.method.value
    for scope in Scope:
        for each in RangeMethod:
            yield Trial(f"{scope.value}, {each.value}", replace(base, scope=scope, method=each))
    for scope in Scope:
        recipe = replace(base, scope=scope)
        for name in HELPERS:
            if name in ("channels", "alternate") and scope is Scope.CONVOLUTIONS:
                continue
            yield Trial(f"{scope.value}, {method}, without {name}", replace(recipe, **{name: False}))
        yield Trial(f"{scope.value}, {method}, no helper", replace(recipe, **dict.fromkeys(HELPERS, False)))
    for scope in Scope:
        recipe = replace(base, scope=scope)
        for factor in (0.8, 1.25):
            yield Trial(f"{scope.value}, {method}, ranges x {factor:g}", recipe, lambda c, f=factor: with_ranges(c, f))
        for weight in (1.0, 3.0, 6.0):
            yield Trial(f"{scope.value}, {method}, clipping x {weight:g}", replace(recipe, clipping=weight))
        for weight in (0.0, 1e-3, 1e-2):
            yield Trial(f"{scope.value}, {method}, drawn x {weight:g}", replace(recipe, drawn=weight))
        yield Trial(f"{scope.value}, weights alone, activations FP16", recipe, with_weights_alone)


def with_ranges(calibrated: Calibrated, factor: float) -> Calibrated:
    """All activation ranges times a factor."""
    limits = {name: limit * factor for name, limit in calibrated.plan.limits.items()}
    return replace(calibrated, plan=replace(calibrated.plan, limits=limits))


def with_weights_alone(calibrated: Calibrated) -> Calibrated:
    """INT8 weights in convolutions that read FP16, so that no activation is rounded."""
    model = copy_of(calibrated.model)
    for node in nodes_of_type(model.graph, "Conv"):
        if node.name and node.name in calibrated.plan.weights:
            integers, scales = calibrated.plan.weights[node.name]
            set_constant(node, 1, integers * scales.astype(np.float32).reshape(-1, 1, 1, 1))
    settle(model)
    return replace(calibrated, model=model, sites=Sites((), ()))


def ablate(
    checkpoint: Checkpoint, chosen: CalibrationSet, pairs: Sequence[EvaluationPair], wanted: str = ""
) -> Iterator[Row]:
    """Trace and rewrite once, then measure every trial whose label contains ``wanted`` on the same images.

    Raises:
        DefianError: there is no such trial.
    """
    asked = [trial for trial in trials() if wanted in trial.label]
    if not asked:
        raise DefianError(f"--only {shown(wanted)}: no row's label contains it.")
    graph, scale = trace(checkpoint), checkpoint.architecture.scale
    apply_rewrites(graph)
    references = reference_evaluations(checkpoint.network(), (pair.lr for pair in pairs))
    for trial in asked:
        start = time.monotonic()
        calibrated = calibrate(graph, chosen, trial.recipe)
        variant = trial.change(calibrated).variant()
        seconds = time.monotonic() - start
        evaluator = GraphEvaluator(variant.model)
        results = [evaluator(pair.lr) for pair in pairs]
        report = report_of(trial.label, results, references, pairs, scale)
        errors = [result.values - reference.values for result, reference in zip(results, references, strict=True)]
        cached = calibrated.record["cache"] == "hit"
        yield Row(trial.label, report, constant_share(errors, scale), seconds, cached)


def constant_share(errors: Sequence[np.ndarray], scale: int) -> float:
    """Share of the power of errors [sH, sW, 3] that is one constant per image, channel and phase of the upscaling."""
    constant = np.mean([np.mean(_phases(error, scale).mean(axis=(0, 2)) ** 2) for error in errors])
    return float(constant / np.mean([np.mean(error**2) for error in errors]))


def _phases(error: np.ndarray, scale: int) -> np.ndarray:
    """[sH, sW, 3] as [H, s, W, s, 3]."""
    height, width, channels = error.shape
    return error.reshape(height // scale, scale, width // scale, scale, channels)


def main() -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.ablation", description=__doc__)
    add_model_and_images(parser)
    add_calibration(parser)
    parser.add_argument("--only", default="", help="rows whose label contains this")
    options = parsed(parser)
    table = Table("recipe", *DRIFT_COLUMNS, "constant", "seconds")
    with table_or_error(table):
        checkpoint = load_checkpoint(resolve_model(options.model))
        scale = checkpoint.architecture.scale
        pairs = evaluation_pairs(scale, None, options.lr, options.hr)
        chosen = calibration_set(options.calibration, scale, options.patches)
        for row in ablate(checkpoint, chosen, pairs, options.only):
            seconds = f"{row.seconds:.1f}{' (cache)' if row.cached else ''}"
            table.add_row(row.label, *drift_cells(row.report), f"{row.constant:.1%}", seconds)


if __name__ == "__main__":
    main()
