"""``python -m tools.compare --model defian-s-x2``: what the rewrites give, plain against rewritten in one process."""

from __future__ import annotations

import argparse
import sys
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.export.engine.memory_plan import can_measure_memory, planned_activation_bytes
from defian_edge.export.graph import copy_of
from defian_edge.export.rewrites import apply_rewrites, select
from defian_edge.export.roofline.counts import statistics
from defian_edge.export.trace.network import INPUT, trace
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.timing import take_turns

LARGEST = "1x64x64,1x360x640,1x540x960"


def main() -> None:
    """Run the comparison; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.compare", description=__doc__)
    parser.add_argument("--model", required=True, help="bundled name, or path of a checkpoint")
    parser.add_argument("--shape", default="180x320", help="LR height x width for the latency")
    parser.add_argument("--rounds", type=int, default=7, help="latency samples per graph")
    parser.add_argument("--no-rewrite", action="append", default=[], metavar="NAME", help="leave a rewrite out")
    options = parser.parse_args()
    try:
        compare(options.model, ShapeProfile.parse(f"1x{options.shape}"), options.rounds, options.no_rewrite)
    except DefianError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def compare(model: str, latency_shape: ShapeProfile, rounds: int, without: list[str]) -> None:
    """Trace once, rewrite a copy, and print nodes, MACs, planned memory and CPU latency of both.

    Raises:
        DefianError: the model or the name of a rewrite is unknown.
    """
    checkpoint = load_checkpoint(resolve_model(model))
    rewrites = select(without)
    plain = trace(checkpoint)
    rewritten = copy_of(plain)
    apply_rewrites(rewritten, rewrites)
    graphs = {"plain": plain, "rewritten": rewritten}
    profile = ShapeProfile.parse(LARGEST)
    counted = {name: statistics(graph, profile.maximum) for name, graph in graphs.items()}
    image = np.random.default_rng(0).integers(0, 256, (*latency_shape.optimum, 3), dtype=np.uint8)
    sessions = {name: session_of(graph) for name, graph in graphs.items()}
    timed = take_turns({n: partial(s.run, None, {INPUT: image}) for n, s in sessions.items()}, rounds)
    table = Table("", "plain", "rewritten", "ratio", title=f"{checkpoint.name}: plain export against rewritten graph")
    for label, values in (
        ("nodes, functions inlined", [counted[name].nodes for name in graphs]),
        ("GMACs, 1x540x960", [counted[name].macs / 1e9 for name in graphs]),
    ):
        table.add_row(label, *(f"{value:.5g}" for value in values), f"{values[1] / values[0]:.3f}")
    if can_measure_memory():
        planned = [(planned_activation_bytes(graph, profile) or 0) / 1e6 for graph in graphs.values()]
        label = "activation MB, FP16, 1x540x960, uint8, TensorRT-RTX sm_89"
        table.add_row(label, *(f"{value:.1f}" for value in planned), f"{planned[1] / planned[0]:.3f}")
    low, high = timed[1].ratio_spread
    label = f"ONNX Runtime CPU ms, FP32, {latency_shape.optimum[1]}x{latency_shape.optimum[2]}, {rounds} rounds"
    latencies = [f"{1e3 * result.median:.0f}" for result in timed]
    table.add_row(label, *latencies, f"{timed[1].ratio:.3f} [{low:.3f}, {high:.3f}]")
    Console().print(table)


if __name__ == "__main__":
    main()
