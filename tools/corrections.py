"""What correcting an INT8 graph after quantising would gain: biases, learned ranges, learned rounding of the weights.

``python -m tools.corrections --model defian-s-x2``; docs/quantisation.md has the tables. The product uses none of them;
each is measured on the product's own graph, so that leaving it out is a finding.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.table import Table

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.drift.report import measure_drift
from defian_edge.calibration.photos import PATCH, EvaluationPair, calibration_set, evaluation_pairs
from defian_edge.export.graph import array_of, copy_of, nodes_of_type, set_constant, settle
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import Scope
from defian_edge.export.reference import reference_evaluations
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.tables import DRIFT_COLUMNS, drift_cells
from defian_edge.export.trace.network import trace
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.arguments import count_of, path_of
from tools.simulator import Simulator, Stage
from tools.study import add_calibration, add_model_and_images, parsed, table_or_error

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from defian_edge.calibration.photos import CalibrationSet
    from defian_edge.export.precision.int8.calibrate import Calibrated
    from defian_edge.models.checkpoint import Checkpoint

BATCH, CROP = 4, 32
"""A step of learning sees crops of some calibration patches."""
BIAS_BATCH = 16
"""Biases are corrected on so many whole patches."""
IMAGES_IN_ORDER = 16
"""Block by block the same crops are used all the way, because every stage begins with what the last one made."""
RATES = {"log_limits": 0.01, "rounding": 0.03}
INDECISION = 1e-5
"""Weight of AdaRound's regulariser, against a loss of 1."""
FREE_SHARE, SHARPEST, BLUNTEST = 0.2, 2.0, 20.0
"""AdaRound leaves the first part of the steps free, then anneals the regulariser's exponent from 20 to 2."""


@dataclass(frozen=True)
class Learning:
    """What corrections are learned from: uint8 patches [H, W, 3], and how many steps are taken."""

    patches: Sequence[np.ndarray]
    steps: int

    def batch(self, random: np.random.Generator, count: int = BATCH, side: int = CROP) -> torch.Tensor:
        """Random crops, uint8 [count, side, side, 3]; smaller where a patch is."""
        side = min(side, *(min(patch.shape[:2]) for patch in self.patches))
        crops = []
        for index in random.integers(len(self.patches), size=count):
            patch = self.patches[index]
            top, left = (random.integers(length - side + 1) for length in patch.shape[:2])
            crops.append(patch[top : top + side, left : left + side])
        return torch.from_numpy(np.stack(crops))


def with_corrected_biases(calibrated: Calibrated, learning: Learning) -> Calibrated:
    """Empirical bias correction (M. Nagel et al., ICCV 2019): each convolution's mean error per channel, in order."""
    simulator = Simulator(calibrated)
    images = learning.batch(np.random.default_rng(0), BIAS_BATCH, PATCH)
    means: dict[str, torch.Tensor] = {}

    def note(name: str, value: torch.Tensor) -> torch.Tensor:
        means[name] = value.mean(dim=(0, 2, 3), keepdim=True)
        return value

    def correct(name: str, value: torch.Tensor) -> torch.Tensor:
        simulator.bias[name] = means[name] - value.mean(dim=(0, 2, 3), keepdim=True)
        return value + simulator.bias[name]

    with torch.no_grad():
        simulator(images, int8=False, see=note)
        simulator(images, int8=True, see=correct)
    model = copy_of(calibrated.model)
    for node in nodes_of_type(model.graph, "Conv"):
        if node.name in simulator.bias:
            correction = simulator.bias[node.name].numpy().ravel()
            before = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
            node.resize_inputs(3)
            set_constant(node, 2, correction if before is None else before + correction)
    settle(model)
    return replace(calibrated, model=model)


def with_learned(kinds: Sequence[str]) -> Callable[[Calibrated, Learning], Calibrated]:
    """Learn ``log_limits`` (ranges), ``rounding`` (AdaRound) or both, all of the network's at once.

    The loss is the squared difference from the FP32 graph's picture before rounding to 8 bits.
    """

    def learn(calibrated: Calibrated, learning: Learning) -> Calibrated:
        simulator, random = Simulator(calibrated), np.random.default_rng(0)

        def squared_error() -> torch.Tensor:
            images = learning.batch(random)
            with torch.no_grad():
                expected = simulator(images, int8=False)
            return (simulator(images, int8=True, soft="rounding" in kinds) - expected).square().mean()

        descend(simulator, {kind: list(getattr(simulator, kind)) for kind in kinds}, learning.steps, squared_error)
        return as_learned(calibrated, simulator)

    return learn


def with_learned_in_order(kinds: Sequence[str]) -> Callable[[Calibrated, Learning], Calibrated]:
    """The same block by block: each stage behind those that are done, on what they make of the images.

    The loss is the squared difference of the stage's result from the FP32 graph's (M. Nagel et al., ICML 2020; Y. Li
    et al., BRECQ, ICLR 2021).
    """

    def learn(calibrated: Calibrated, learning: Learning) -> Calibrated:
        simulator, random = Simulator(calibrated), np.random.default_rng(0)
        images = learning.batch(random, IMAGES_IN_ORDER)
        exact, found = simulator.start(images), simulator.start(images)
        for stage in simulator.stages():
            with torch.no_grad():
                simulator.run(stage.nodes, exact, int8=False)

            def squared_error(stage: Stage = stage) -> torch.Tensor:
                rows = torch.from_numpy(random.permutation(len(images))[:BATCH])
                values = {name: of_images(value, rows, len(images)) for name, value in found.items()}
                simulator.run(stage.nodes, values, int8=True, soft="rounding" in kinds)
                return (values[stage.target] - exact[stage.target][rows]).square().mean()

            names = {"log_limits": stage.limits, "rounding": stage.convolutions}
            descend(simulator, {kind: names[kind] for kind in kinds}, max(1, learning.steps // 2), squared_error)
            with torch.no_grad():
                simulator.run(stage.nodes, found, int8=True)
        return as_learned(calibrated, simulator)

    return learn


def of_images(value: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """Some images' share of a value; all of it if the value has no batch."""
    return value[rows] if value.dim() == 4 and len(value) == count else value


def descend(
    simulator: Simulator,
    names: Mapping[str, Collection[str]],
    steps: int,
    squared_error: Callable[[], torch.Tensor],
) -> None:
    """Gradient descent on what is named; of ``rounding`` with the regulariser, in proportion to the squared error."""
    groups = [{"params": simulator.parameters(kind, chosen), "lr": RATES[kind]} for kind, chosen in names.items()]
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        loss, progress = squared_error(), step / steps
        if "rounding" in names and progress >= FREE_SHARE:
            sharpness = BLUNTEST + (SHARPEST - BLUNTEST) * (progress - FREE_SHARE) / (1 - FREE_SHARE)
            loss = loss + INDECISION * loss.detach() * simulator.indecision(sharpness, names["rounding"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def as_learned(calibrated: Calibrated, simulator: Simulator) -> Calibrated:
    """The calibration with the simulator's ranges and roundings."""
    limits = {name: math.exp(limit.item()) for name, limit in simulator.log_limits.items()}
    weights = {name: (steps, calibrated.plan.weights[name][1]) for name, steps in simulator.integers()}
    return replace(calibrated, plan=replace(calibrated.plan, limits=limits, weights=weights))


CORRECTIONS: dict[str, Callable[[Calibrated, Learning], Calibrated]] = {
    "none": lambda calibrated, _: calibrated,
    "bias correction": with_corrected_biases,
    "learned ranges": with_learned(["log_limits"]),
    "learned rounding": with_learned(["rounding"]),
    "learned ranges and rounding": with_learned(["log_limits", "rounding"]),
    "ranges block by block": with_learned_in_order(["log_limits"]),
    "rounding block by block": with_learned_in_order(["rounding"]),
    "both block by block": with_learned_in_order(["log_limits", "rounding"]),
}


def corrected(
    checkpoint: Checkpoint, patches: CalibrationSet, steps: int, pairs: Sequence[EvaluationPair]
) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Label, drift cells and seconds of every correction in both scopes."""
    scale = checkpoint.architecture.scale
    learning = Learning(list(patches), steps)
    graph = trace(checkpoint)
    apply_rewrites(graph)
    references = reference_evaluations(checkpoint.network(), (pair.lr for pair in pairs))
    for scope in Scope:
        calibrated = calibrate(graph, patches, Recipe(scope=scope))
        for name, correct in CORRECTIONS.items():
            start = time.monotonic()
            variant = correct(calibrated, learning).variant()
            seconds = time.monotonic() - start
            report = measure_drift(name, GraphEvaluator(variant.model), Reference(pairs, references, scale))
            yield f"{scope.value}, {name}", drift_cells(report), seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.corrections", description=__doc__)
    add_model_and_images(parser)
    add_calibration(parser)
    parser.add_argument("--steps", type=count_of("--steps", 1), default=300, help="steps of learning")
    dataset = path_of("--dataset")
    parser.add_argument("--dataset", type=dataset, help="folder of HR images to measure on; default: bundled")
    options = parsed(parser, arguments)
    torch.manual_seed(0)
    table = Table("correction", *DRIFT_COLUMNS, "seconds")
    with table_or_error(table):
        checkpoint = load_checkpoint(resolve_model(options.model))
        scale = checkpoint.architecture.scale
        pairs = evaluation_pairs(scale, options.dataset, options.lr, options.hr)
        patches = calibration_set(options.calibration, scale, options.patches)
        for label, cells, seconds in corrected(checkpoint, patches, options.steps, pairs):
            table.add_row(label, *cells, f"{seconds:.0f}")


if __name__ == "__main__":
    main()
