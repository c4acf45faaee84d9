"""What the stages of engines and of graphs have in common: bench.py's figures, shortened, and pictures side by side."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from defian_edge.benchmark.measure.latency import Sampling
from defian_edge.benchmark.options import BenchOptions
from defian_edge.benchmark.run import run_benchmark
from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.report import report_of
from defian_edge.export.reference import reference_evaluations
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.manifest import read_manifest
from defian_edge.selftest.pictures import SIZES, pairs_of, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from defian_edge.selftest.protocol import Record, Settings

SAMPLING = Sampling(rounds=20, seconds=0.25, warm_up_seconds=0.15)
NEAR_EMULATION = 0.01
"""dB by which a device's drift may differ from the one that was measured with emulated FP16."""
DRIFT_LIMITS = {"fp32": 0.002, "fp16": 0.05, "int8": 0.25}
"""dB that a picture may lose against the PyTorch reference."""
STEP_LIMITS = {"fp32": (2, 60.0), "fp16": (4, 52.0), "int8": (16, 45.0)}
"""Largest step of a value from the emulation's, and least PSNR against it; FP32 may be TF32. An H100 has 1 and 62."""


def bench(
    settings: Settings, record: Record, artefacts: Sequence[Path], scale: int, provider: str = "cuda"
) -> list[dict[str, Any]]:
    """Latency at all sizes and drift by the benchmark itself; drift is held against its limits."""
    lr, hr = sources(settings, scale)
    result = run_benchmark(
        BenchOptions(
            tuple(str(path) for path in artefacts),
            tuple((1, *size) for size in SIZES),
            SAMPLING,
            provider,
            lr=lr,
            hr=hr,
            energy=False,
            memory=False,
        )
    ).as_json()
    for remark in result["remarks"]:
        record.note(remark)
    rows = [_row(candidate) for candidate in result["candidates"]]
    for row in rows:
        worst = (row["drift"] or {}).get("worst_drift_db")
        found = float("nan") if worst is None else worst
        record.check(f"{row['name']}, worst drift in dB", found, at_most=DRIFT_LIMITS[row["precision"]])
        record.check(f"{row['name']}, sizes timed", len(row["latencies"]), at_least=len(SIZES))
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
    """The device's pictures beside the PyTorch reference's, and pixel by pixel beside the same graph's on the CPU.

    There FP16 is emulated. Both are held against their limits.
    """
    pairs = pairs_of(settings, scale)
    emulated = _emulated(settings, graph, scale)
    device = [Evaluation(run(pair.lr[None])[0], finite=True) for pair in pairs]
    report = report_of(name, device, emulated, pairs, scale)
    drift = report_of(name, device, references(settings, scale), pairs, scale).summary()
    steps = [np.abs(one.image.astype(int) - other.image) for one, other in zip(device, emulated, strict=True)]
    found = {
        "worst_difference_db": max(abs(image.drift) for image in report.images),
        "psnr_to_emulation": report.psnr_to_reference,
        "equal_share": float(np.mean([np.mean(step == 0) for step in steps])),
        "largest_step": int(max(step.max() for step in steps)),
        "drift": {key: value for key, value in drift.items() if key != "images"},
    }
    precision = read_manifest(graph).precision
    worst = drift["worst_drift_db"]
    found_worst = float("nan") if worst is None else worst
    record.check(f"{name}, worst drift in dB", found_worst, at_most=DRIFT_LIMITS[precision])
    step, least = STEP_LIMITS[precision]
    record.check(f"{name}, drift against the emulation's in dB", found["worst_difference_db"], at_most=NEAR_EMULATION)
    record.check(f"{name}, largest step from the emulation, borders too", found["largest_step"], at_most=step)
    record.check(f"{name}, PSNR against the emulation in dB", found["psnr_to_emulation"], at_least=least)
    return found


@lru_cache(maxsize=4)
def references(settings: Settings, scale: int) -> list[Evaluation]:
    """What the PyTorch network of DeFiAN-S makes of the pictures on the CPU, in FP32."""
    network = load_checkpoint(resolve_model(f"defian-s-x{scale}")).network()
    return reference_evaluations(network, (pair.lr for pair in pairs_of(settings, scale)))


@lru_cache(maxsize=32)
def _emulated(settings: Settings, graph: Path, scale: int) -> list[Evaluation]:
    """What the graph makes of the pictures on the CPU; a graph may have several engines."""
    evaluate = GraphEvaluator(ir.load(graph))
    return [evaluate(pair.lr) for pair in pairs_of(settings, scale)]
