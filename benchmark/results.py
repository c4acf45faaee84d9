"""The result of a run: in memory, and as JSON of a known schema."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.benchmark.statistics import DEFINITIONS, compare, summarise
from defian_edge.runtime.files import write_whole
from defian_edge.runtime.hardware.table import DEVICES
from defian_edge.runtime.json_values import json_ready

if TYPE_CHECKING:
    from pathlib import Path

    from defian_edge.benchmark.candidates import Candidate
    from defian_edge.benchmark.gpu.clocks import Clocks
    from defian_edge.benchmark.gpu.energy import Energy
    from defian_edge.benchmark.measure.latency import Latency
    from defian_edge.benchmark.measure.memory import Memory
    from defian_edge.benchmark.measure.quality import Quality
    from defian_edge.export.roofline.bound import Bound, Work

SCHEMA = 4


@dataclass(frozen=True)
class Measured:
    """All figures of one candidate; what was not measured is empty or None.

    Attributes:
        candidate: what it is.
        file_bytes: size of its file.
        latencies: one per shape.
        memory: of a process that loads and runs it.
        energy: per shape; None where it was not measured.
        work, bound: per shape; what it computes and moves, and how fast a device could be at best.
        quality: the drift section.
    """

    candidate: Candidate
    file_bytes: int
    latencies: tuple[Latency, ...] = ()
    memory: Memory | None = None
    energy: tuple[Energy | None, ...] = ()
    work: tuple[Work, ...] = ()
    bound: tuple[Bound, ...] = ()
    quality: Quality | None = None

    def share_of_bound(self, index: int) -> float | None:
        """Bound over median latency at one shape; None if it was not timed on that device."""
        if index >= min(len(self.bound), len(self.latencies)) or not self.bound[index].in_use:
            return None
        return self.bound[index].seconds / self.latencies[index].summary.median

    @property
    def activation_bytes(self) -> int | None:
        """Device memory that the compiler plans for activations; None if it is no engine."""
        manifest = self.candidate.manifest
        return None if manifest is None or manifest.engine is None else manifest.engine.activation_bytes


@dataclass(frozen=True)
class BenchResult:
    """One run of the benchmark.

    Attributes:
        command: the command line.
        environment: see :func:`defian_edge.benchmark.environment.describe_environment`.
        shapes: LR batches that were timed, as NxHxW.
        measured: the candidates in order; the first is the base of all ratios.
        images: what the drift was measured on, in words; empty if it was not.
        remarks: warnings and what else a reader must know.
        clocks: the GPU's clock while the candidates were timed, one per shape; empty where no GPU tells it.
        tiles: the tiling of the tile drift, in words; empty for none.
        images_sha256: of the pixels of all images, whatever they are called; empty without images.
        reference: what the drift was measured against, in words; empty if it was not measured.
        over_budget: sentences on what exceeded a budget; the exit status is 1 if there are any.
    """

    command: str
    environment: dict[str, Any]
    shapes: tuple[str, ...]
    measured: tuple[Measured, ...]
    images: str = ""
    remarks: tuple[str, ...] = ()
    over_budget: tuple[str, ...] = field(default_factory=tuple)
    clocks: tuple[Clocks, ...] = ()
    tiles: str = ""
    images_sha256: str = ""
    reference: str = ""

    def as_json(self) -> dict[str, Any]:
        """Everything but the pictures, in JSON's types; values that are not finite become null."""
        content = {
            "schema": SCHEMA,
            "command": self.command,
            "definitions": self.definitions(),
            "environment": self.environment,
            "shapes": list(self.shapes),
            "images": self.images,
            "images_sha256": self.images_sha256,
            "reference": self.reference,
            "tiles": self.tiles,
            "gpu_clocks": [asdict(each) for each in self.clocks],
            "pairs": self.pairs(),
            "remarks": list(self.remarks),
            "over_budget": list(self.over_budget),
            "candidates": [_candidate_json(each) for each in self.measured],
        }
        return json_ready(content)

    def definitions(self) -> dict[str, str]:
        """What the figures mean, and where the peaks of the devices come from."""
        devices = sorted({bound.device for each in self.measured for bound in each.bound})
        return DEFINITIONS | {f"peaks of {name}": DEVICES[name].source for name in devices if name in DEVICES}

    def pairs(self) -> list[dict[str, Any]]:
        """Every two candidates at every shape: the ratio of the second one's latency to the first one's."""
        found: list[dict[str, Any]] = []
        for index, shape in enumerate(self.shapes):
            timed = [each for each in self.measured if each.latencies]
            for first, second in combinations(timed, 2):
                before, after = (np.asarray(each.latencies[index].seconds) for each in (first, second))
                compared = compare((after / before).tolist())
                names = {"of": second.candidate.name, "to": first.candidate.name, "shape": shape}
                found.append(names | asdict(compared) | {"verdict": compared.verdict})
        return found

    def write(self, path: Path) -> None:
        """Write the JSON; the file appears whole or not at all."""
        write_whole(path, (json.dumps(self.as_json(), indent=2) + "\n").encode(), "--json")


def _candidate_json(measured: Measured) -> dict[str, Any]:
    candidate, quality = measured.candidate, measured.quality
    return {
        "name": candidate.name,
        "kind": candidate.kind,
        "model": candidate.model,
        "scale": candidate.scale,
        "precision": candidate.precision,
        "eigen": None if candidate.manifest is None else candidate.manifest.eigen,
        "backend": candidate.backend,
        "not_run": candidate.not_run,
        "file_bytes": measured.file_bytes,
        "activation_bytes_planned": measured.activation_bytes,
        "memory": None if measured.memory is None else asdict(measured.memory),
        "latencies": [
            asdict(each)
            | {"part_summaries": {name: asdict(summarise(samples)) for name, samples in each.parts.items()}}
            | {"shape": "x".join(map(str, each.shape)), "verdict": each.comparison and each.comparison.verdict}
            for each in measured.latencies
        ],
        "energy": [None if each is None else asdict(each) for each in measured.energy],
        "work": [asdict(each) for each in measured.work],
        "bounds": [
            asdict(each) | {"seconds": each.seconds, "limit": each.limit} | _peaks(each.device)
            for each in measured.bound
        ],
        "drift": None
        if quality is None
        else quality.report.summary() | {"uint8_differences": list(quality.differences)},
        "tile_drift": None if quality is None or quality.tiled is None else quality.tiled.summary(),
    }


def _peaks(name: str) -> dict[str, Any]:
    """Published peaks of a device and their source."""
    if name not in DEVICES:
        return {}
    device = DEVICES[name]
    rates = {f"{precision}_per_second": device.peak(precision) for precision in ("fp32", "fp16", "int8")}
    return {"source": device.source, "peaks": rates | {"bytes_per_second": device.bandwidth}}
