"""Latency of all candidates within one run, taking turns, and what makes a measurement doubtful."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.benchmark.environment import has_gpu
from defian_edge.benchmark.statistics import STEADY_CV, Comparison, Summary, compare, summarise
from defian_edge.runtime.timing import take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from defian_edge.benchmark.candidates import Candidate
    from defian_edge.runtime.profile import Shape

MEGA = 1e6
PARTS = ("enqueue", "h2d", "compute", "d2h")
"""What a session tells of a run."""
DEVICE = "device"
"""The sum of a run's copies and network: what trtexec calls latency."""
SUMMANDS = PARTS[1:]
ENQUEUE_BOUND = 0.8
"""Share of the compute time from which enqueueing is called the bottleneck."""


@dataclass(frozen=True)
class Sampling:
    """How long to measure: at least ``rounds`` rounds, ``seconds`` of timed runs per candidate, after a warm-up."""

    rounds: int = 10
    seconds: float = 1.0
    warm_up_seconds: float = 0.2


@dataclass(frozen=True)
class Latency:
    """One candidate at one LR shape.

    Attributes:
        shape: batch, height, width of the LR batch.
        seconds: every sample, in the order of the rounds.
        summary: their statistics.
        images_per_second, megapixels_per_second: throughput; pixels are those of the output.
        comparison: against the first candidate, round by round; None for the first.
        parts: samples in seconds of what the device spent its time on, by name, :data:`DEVICE` being the sum of a run's
            copies and network; empty if the session does not say.
    """

    shape: Shape
    seconds: tuple[float, ...]
    summary: Summary
    images_per_second: float
    megapixels_per_second: float
    comparison: Comparison | None
    parts: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def part(self, name: str) -> Summary | None:
        """Statistics of one of :data:`PARTS` or :data:`DEVICE`; None if it was not measured."""
        return summarise(self.parts[name]) if self.parts.get(name) else None


def measure_latency(
    candidates: Sequence[Candidate], shape: Shape, sampling: Sampling, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Latency]:
    """Time every candidate that runs here on one random batch of this LR shape.

    Raises:
        DefianError: a candidate cannot take the shape.
    """
    batch = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    runs = {each.name: partial(each.run, batch) for each in candidates if each.run is not None}
    if not runs:
        return {}
    scale = candidates[0].scale
    asked = {each.name: each.timings for each in candidates if each.timings is not None}
    parts: dict[str, dict[str, list[float]]] = {name: {part: [] for part in (*PARTS, DEVICE)} for name in runs}

    def ask(name: str) -> None:
        said = asked[name]() if name in asked else {}
        for part in PARTS:
            if part in said:
                parts[name][part].append(said[part])
        if all(part in said for part in SUMMANDS):
            parts[name][DEVICE].append(sum(said[part] for part in SUMMANDS))

    turns = take_turns(
        runs,
        sampling.rounds,
        clock=clock,
        seconds=sampling.seconds,
        warm_up_seconds=sampling.warm_up_seconds,
        after=ask,
    )
    results: dict[str, Latency] = {}
    for turn in turns:
        throughput = shape[0] * len(turn.seconds) / float(turn.seconds.sum())
        results[turn.name] = Latency(
            shape=shape,
            seconds=tuple(turn.seconds.tolist()),
            summary=summarise(turn.seconds.tolist()),
            images_per_second=throughput,
            megapixels_per_second=throughput * shape[1] * shape[2] * scale**2 / MEGA,
            comparison=compare(turn.ratios.tolist()) if results else None,
            parts={part: tuple(samples) for part, samples in parts[turn.name].items() if samples},
        )
    return results


def doubts(candidates: Sequence[Candidate], latencies: Sequence[dict[str, Latency]], provider: str) -> list[str]:
    """Sentences about what may mislead in these latencies; empty if nothing was found."""
    found: list[str] = []
    for measured in latencies:
        for name, latency in measured.items():
            where = f"{name} at {'x'.join(map(str, latency.shape))}"
            if latency.summary.cv > STEADY_CV:
                found.append(
                    f"{where}: unsteady, coefficient of variation {latency.summary.cv:.1%} (limit {STEADY_CV:.1%})."
                )
            found += _trend(where, latency) + _bottleneck(where, latency)
            if latency.comparison is not None and latency.comparison.interval is None:
                found.append(f"{where}: {latency.summary.count} rounds are too few to tell a difference; 8 are needed.")
    ran = [each for each in candidates if each.run is not None]
    if provider == "cpu" and has_gpu() and any(each.kind == "onnx" for each in ran):
        found.append("The graphs ran on the CPU although there is a GPU; --provider cuda or tensorrt uses it.")
    if has_gpu() and (networks := [each.name for each in ran if each.kind == "pytorch"]):
        found.append(
            f"{', '.join(networks)}: PyTorch ran on the CPU although there is a GPU, as checkpoints always do here; a "
            "ratio to it is no speed-up on the GPU."
        )
    if provider == "cpu" and (half := [e.name for e in ran if e.kind == "onnx" and e.precision != "fp32"]):
        found.append(
            f"{', '.join(half)}: ONNX Runtime has no FP16 kernels for a CPU and computes FP16 in FP32 between casts; "
            "the latency says nothing about a GPU."
        )
    found += [f"{each.name}: not timed, {each.not_run}." for each in candidates if each.run is None]
    return found


def _bottleneck(where: str, latency: Latency) -> list[str]:
    enqueue, h2d, compute, d2h = (latency.part(name) for name in PARTS)
    found: list[str] = []
    if compute is None:
        return found
    if enqueue is not None and enqueue.median > ENQUEUE_BOUND * compute.median:
        found.append(
            f"{where}: enqueue-bound, the host needs {1e3 * enqueue.median:.2f} ms to hand over what the device "
            f"computes in {1e3 * compute.median:.2f} ms; a CUDA graph may help."
        )
    for name, copied in (("H2D", h2d), ("D2H", d2h)):
        if copied is not None and copied.median > compute.median:
            found.append(
                f"{where}: transfer-bound, {name} takes {1e3 * copied.median:.2f} ms and the network "
                f"{1e3 * compute.median:.2f} ms."
            )
    return found


def _trend(where: str, latency: Latency) -> list[str]:
    half = len(latency.seconds) // 2
    if half < 4:
        return []
    first, second = (float(np.median(part)) for part in (latency.seconds[:half], latency.seconds[half:]))
    change = second / first - 1.0
    if abs(change) <= STEADY_CV:
        return []
    direction = "slower" if change > 0 else "faster"
    return [
        f"{where}: the latency drifted, the second half of the run was {abs(change):.1%} {direction} (clock, heat, or "
        "other programs)."
    ]
