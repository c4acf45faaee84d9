"""What a benchmark measures, checked before any work starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from defian_edge.benchmark.budget import Budget
from defian_edge.benchmark.latency import Plan
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from pathlib import Path

    from defian_edge.runtime.profile import Shape
    from defian_edge.runtime.tiles import Tiling


@dataclass(frozen=True)
class BenchOptions:
    """What to measure.

    Attributes:
        artefacts: bundled names and paths; the first is the base of all ratios.
        shapes: LR batches to time, (batch, height, width).
        plan: how long.
        provider: what runs the graphs.
        dataset, lr, hr: images for the drift section; none for no such section.
        reference: checkpoint of the drift section; None finds it by its hash.
        device: name in the table of published peaks; None for the GPU in use.
        threads: CPU threads of PyTorch and of ONNX Runtime; 0 leaves each its own choice.
        memory: measure the memory of each artefact in a process of its own.
        energy: measure the energy per image where the machine gives power.
        tiling: measure what these tiles cost; None for no tiles.
        budget: limits of the drift.
        command: the command line, for the record.
    """

    artefacts: tuple[str, ...]
    shapes: tuple[Shape, ...]
    plan: Plan = field(default_factory=Plan)
    provider: str = "cpu"
    dataset: Path | None = None
    lr: Path | None = None
    hr: Path | None = None
    reference: str | None = None
    device: str | None = None
    threads: int = 0
    memory: bool = True
    energy: bool = True
    tiling: Tiling | None = None
    budget: Budget = field(default_factory=Budget)
    command: str = ""

    def __post_init__(self) -> None:
        if not self.shapes:
            raise DefianError("No shape to time: give at least one.")
        if self.plan.rounds < 1 or not self.plan.seconds >= 0 or not self.plan.warm_up_seconds >= 0:
            raise DefianError(
                f"Expected at least one round and durations of 0 s or more, found {self.plan.rounds} rounds, "
                f"{self.plan.seconds:g} s and {self.plan.warm_up_seconds:g} s of warm-up."
            )
        if self.threads < 0:
            raise DefianError(f"Expected 0 threads (each library's choice) or more, found {self.threads}.")
        if self.measures_drift:
            return
        for given, what in ((self.budget, "A drift budget"), (self.tiling, "Tile drift")):
            if given:
                raise DefianError(f"{what} needs images to measure it on.", "Give --dataset, or --lr and --hr.")

    @property
    def measures_drift(self) -> bool:
        """Whether there are images for a drift section."""
        return any(folder is not None for folder in (self.dataset, self.lr, self.hr))
