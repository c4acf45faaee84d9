"""``python -m tools.islands --model defian-s-x2``: what FP32 in a FP16 or BF16 graph is worth."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.report import DriftReport, measure_drift
from defian_edge.calibration.photos import evaluation_pairs
from defian_edge.calibration.ranges.fp16_range import beyond_fp16
from defian_edge.export.precision.fp16 import BF16_ISLANDS, ISLANDS, NOTHING
from defian_edge.export.precision.variants import make_bf16, make_fp16
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.source.base import reference_of
from defian_edge.export.source.defian import DefianNetwork
from defian_edge.export.tables import DRIFT_COLUMNS, drift_cells
from defian_edge.export.trace.network import trace
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.profile import DEFAULT_PROFILE, ShapeProfile
from tools.study import add_model_and_images, table_or_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx_ir as ir

    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.calibration.ranges.fp16_range import BeyondFp16
    from defian_edge.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class Row:
    """A FP16 or BF16 graph with some parts in FP32.

    Attributes:
        label: which.
        report: drift against the PyTorch reference.
    """

    label: str
    report: DriftReport


def choices(graph: ir.Model, measured: BeyondFp16) -> Iterator[tuple[str, ir.Model]]:
    """All islands, all but one, what measuring alone finds, nothing; and of BF16 all, and all but one."""
    yield "both islands", make_fp16(graph)
    for island in sorted(ISLANDS):
        yield f"without {island.value}", make_fp16(graph, NOTHING, ISLANDS - {island})
    yield "what measuring finds", make_fp16(graph, measured, frozenset())
    yield "nothing", make_fp16(graph, NOTHING, frozenset())
    yield "BF16: all islands", make_bf16(graph)
    for island in sorted(BF16_ISLANDS):
        yield f"BF16: without {island.value}", make_bf16(graph, BF16_ISLANDS - {island})


def measure_islands(checkpoint: Checkpoint, pairs: Sequence[EvaluationPair]) -> Iterator[Row]:
    """Trace and rewrite once, then measure every choice on the same images. FP16's range is measured on them, too."""
    graph = trace(checkpoint)
    apply_rewrites(graph)
    reference = reference_of(DefianNetwork(checkpoint), pairs)
    images = [*(pair.lr for pair in pairs), *(each.lr for each in reference.hard)]
    pixels = ShapeProfile.parse(DEFAULT_PROFILE).largest_pixels
    measured = beyond_fp16(graph, images, pixels)
    for label, model in choices(graph, measured):
        yield Row(label, measure_drift(label, GraphEvaluator(model), reference))


def main() -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.islands", description=__doc__)
    add_model_and_images(parser)
    options = parser.parse_args()
    table = Table("FP32", *DRIFT_COLUMNS, "faults on hard images")
    with table_or_error(table):
        checkpoint = load_checkpoint(resolve_model(options.model))
        pairs = evaluation_pairs(checkpoint.architecture.scale, None, options.lr, options.hr)
        for row in measure_islands(checkpoint, pairs):
            table.add_row(row.label, *drift_cells(row.report), ", ".join(row.report.hard) or "none")


if __name__ == "__main__":
    main()
