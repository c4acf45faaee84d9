"""``python -m tools.compare --model defian-s-x2``: the plain graph, the portable one and the one for engines."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.export.engine.memory_plan import can_measure_memory, plan_of
from defian_edge.export.graph import copy_of
from defian_edge.export.rewrites import Use, apply_rewrites, select
from defian_edge.export.roofline.counts import statistics
from defian_edge.export.trace.network import INPUT, trace
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.arguments import count_of, text_of
from defian_edge.runtime.profile import DEFAULT_PROFILE, ShapeProfile
from defian_edge.runtime.timing import take_turns
from tools.study import message, parsed


def main() -> None:
    """Run the comparison; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.compare", description=__doc__)
    parser.add_argument("--model", required=True, type=text_of("--model"), help="bundled name, or path of a checkpoint")
    parser.add_argument("--shape", default="180x320", help="LR height x width for the latency")
    rounds = count_of("--rounds", 1, 10_000)
    parser.add_argument("--rounds", type=rounds, default=7, help="latency samples per graph")
    parser.add_argument("--no-rewrite", action="append", default=[], metavar="NAME", help="leave a rewrite out")
    options = parsed(parser)
    with message():
        compare(options.model, ShapeProfile.parse(f"1x{options.shape}"), options.rounds, options.no_rewrite)


def compare(model: str, latency_shape: ShapeProfile, rounds: int, without: list[str]) -> None:
    """Trace once, rewrite copies, and print nodes, MACs, what the compiler plans, and CPU latency of all.

    Raises:
        DefianError: the model or the name of a rewrite is unknown.
    """
    checkpoint = load_checkpoint(resolve_model(model))
    rewrites = {use.value: select(without, use) for use in Use}
    graphs = {"plain": trace(checkpoint)}
    for name, chosen in rewrites.items():
        graphs[name] = copy_of(graphs["plain"])
        apply_rewrites(graphs[name], chosen)
    profile = ShapeProfile.parse(DEFAULT_PROFILE)
    counted = {name: statistics(graph, profile.maximum) for name, graph in graphs.items()}
    image = np.random.default_rng(0).integers(0, 256, (*latency_shape.optimum, 3), dtype=np.uint8)
    sessions = {name: session_of(graph) for name, graph in graphs.items()}
    timed = take_turns({n: partial(s.run, None, {INPUT: image}) for n, s in sessions.items()}, rounds)
    table = Table(
        "", *graphs, *(f"{use.value} ratio" for use in Use), title=f"{checkpoint.name}: what the rewrites give"
    )

    def add(label: str, values: list[float], digits: str) -> None:
        table.add_row(label, *(f"{v:{digits}}" for v in values), *(f"{v / values[0]:.3f}" for v in values[1:]))

    add("nodes, functions inlined", [each.nodes for each in counted.values()], ".5g")
    add("GMACs, 1x540x960", [each.macs / 1e9 for each in counted.values()], ".5g")
    if can_measure_memory():
        plans = [plan_of(graph, profile) for graph in graphs.values()]
        compiler = "FP16, 1x540x960, uint8, TensorRT-RTX sm_89"
        add(f"activation MB, {compiler}", [(plan.activation_bytes or 0) / 1e6 for plan in plans], ".1f")
        add(f"kernels, {compiler}", [plan.traffic.kernels if plan.traffic else 0 for plan in plans], ".0f")
        add(f"GB moved, {compiler}", [plan.traffic.bytes / 1e9 if plan.traffic else 0.0 for plan in plans], ".2f")
    spreads = [f"{each.ratio:.3f} [{each.ratio_spread[0]:.3f}, {each.ratio_spread[1]:.3f}]" for each in timed[1:]]
    label = f"ONNX Runtime CPU ms, FP32, {latency_shape.optimum[1]}x{latency_shape.optimum[2]}, {rounds} rounds"
    table.add_row(label, *(f"{1e3 * each.median:.0f}" for each in timed), *spreads)
    Console().print(table)


if __name__ == "__main__":
    main()
