"""What a benchmark measures, checked before any work starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from defian_edge.benchmark.budget import Budget
from defian_edge.benchmark.measure.latency import Sampling
from defian_edge.benchmark.measure.packed import is_pack
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from pathlib import Path

    from defian_edge.runtime.profile import Shape
    from defian_edge.runtime.tiling import Tiling


@dataclass(frozen=True)
class BenchOptions:
    """What to measure.

    Attributes:
        artefacts: bundled names and paths; the first is the base of all ratios.
        shapes: LR batches to time, (batch, height, width).
        sampling: how long.
        provider: what runs the graphs.
        dataset, lr, hr: images for the drift section; none for no such section.
        reference: checkpoint of the drift section, or a reference pack (.zip), whose photos are then measured on; None
            finds the checkpoint by its hash.
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
    sampling: Sampling = field(default_factory=Sampling)
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
        if self.sampling.rounds < 1 or not self.sampling.seconds >= 0 or not self.sampling.warm_up_seconds >= 0:
            raise DefianError(
                f"Expected at least one round and durations of 0 s or more, found {self.sampling.rounds} rounds, "
                f"{self.sampling.seconds:g} s and {self.sampling.warm_up_seconds:g} s of warm-up."
            )
        if self.threads < 0:
            raise DefianError(f"Expected 0 threads (each library's choice) or more, found {self.threads}.")
        if is_pack(self.reference) and any(folder is not None for folder in (self.dataset, self.lr, self.hr)):
            raise DefianError(
                "Expected --dataset, --lr with --hr, or a reference pack, which has photos of its own, found both.",
                "Leave one of them out.",
            )
        if self.measures_drift:
            return
        needs = ((self.budget, "A drift budget"), (self.tiling, "Tile drift"), (self.reference, "A reference"))
        for given, what in needs:
            if given:
                hint = "Give --dataset, --lr and --hr, or a reference pack with --reference."
                raise DefianError(f"{what} needs images to measure it on.", hint)

    @property
    def measures_drift(self) -> bool:
        """Whether there are images for a drift section."""
        return is_pack(self.reference) or any(folder is not None for folder in (self.dataset, self.lr, self.hr))
