"""What the stages of engines and of graphs have in common: bench.py's figures, shortened, and pictures side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.latency import Plan
from benchmark.options import BenchOptions
from benchmark.run import run_benchmark
from calibration.drift.evaluator import GraphEvaluator
from selftest.pictures import SIZES, pairs_of, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from selftest.protocol import Record, Settings

PLAN = Plan(rounds=20, seconds=0.25, warm_up_seconds=0.15)
NEAR_EMULATION = 0.01
"""dB by which a device's drift may differ from the one that was measured with emulated FP16."""
DRIFT_LIMITS = {"fp32": 0.002, "fp16": 0.05, "int8": 0.25}
"""dB that a picture may lose against the PyTorch reference."""


def bench(
    settings: Settings, record: Record, artefacts: Sequence[Path], scale: int, provider: str = "cuda", *,
    memory: bool = True,
) -> list[dict[str, Any]]:  # fmt: skip
    """Latency at all sizes, drift and memory by the benchmark itself; drift is held against its limits."""
    lr, hr = sources(settings, scale)
    result = run_benchmark(
        BenchOptions(
            tuple(str(path) for path in artefacts),
            tuple((1, *size) for size in SIZES),
            PLAN,
            provider,
            lr=lr,
            hr=hr,
            energy=False,
            memory=memory,
        )
    ).as_json()
    for remark in result["remarks"]:
        record.note(remark)
    rows = [_row(candidate) for candidate in result["candidates"]]
    for row in rows:
        worst = (row["drift"] or {}).get("worst_drift_db")
        if row["drift"] is not None:
            found = float("nan") if worst is None else worst
            record.check(f"{row['name']}, worst drift in dB", found, at_most=DRIFT_LIMITS[row["precision"]])
    return rows


def _row(candidate: dict[str, Any]) -> dict[str, Any]:
    latencies = []
    for latency, bound in zip(candidate["latencies"], candidate["bounds"] or [None] * 9, strict=False):
        device = (latency["part_summaries"].get("compute") or {}).get("median")
        seconds = device or latency["summary"]["median"]
        latencies.append(
            {
                "shape": latency["shape"],
                "median_ms": 1e3 * latency["summary"]["median"],
                "p95_ms": 1e3 * latency["summary"]["p95"],
                "cv": latency["summary"]["cv"],
                "compute_ms": device and 1e3 * device,
                "share_of_roofline": bound and bound["seconds"] / seconds,
            }
        )
    wanted = ("name", "kind", "model", "scale", "precision", "eigen", "backend", "not_run")
    return {key: candidate[key] for key in wanted} | {
        "planned_bytes": candidate["activation_bytes_planned"],
        "memory": candidate["memory"] and candidate["memory"]["device"],
        "latencies": latencies,
        "drift": candidate["drift"] and {k: v for k, v in candidate["drift"].items() if k != "uint8_differences"},
    }


def against_emulation(
    settings: Settings, record: Record, name: str, graph: Path, run: Callable[[np.ndarray], np.ndarray], scale: int
) -> dict[str, Any]:
    """The device's pictures beside those of the same graph with FP16 emulated on the CPU, pixel by pixel."""
    import onnx_ir as ir

    from calibration.drift.evaluator import Evaluation
    from calibration.drift.report import report_of

    pairs = pairs_of(settings, scale)
    emulate = GraphEvaluator(ir.load(graph))
    emulated = [emulate(pair.lr) for pair in pairs]
    device = [Evaluation(run(pair.lr[None])[0], finite=True) for pair in pairs]
    report = report_of(name, device, emulated, pairs, scale)
    steps = [np.abs(one.image.astype(int) - other.image) for one, other in zip(device, emulated, strict=True)]
    found = {
        "worst_difference_db": max(abs(image.drift) for image in report.images),
        "psnr_to_emulation": report.psnr_to_reference,
        "equal_share": float(np.mean([np.mean(step == 0) for step in steps])),
        "largest_step": int(max(step.max() for step in steps)),
    }
    record.check(f"{name}, drift against the emulation's in dB", found["worst_difference_db"], at_most=NEAR_EMULATION)
    return found
