"""Watches the GPU's clock while candidates are timed, and says when it was not what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.benchmark.gpu.sampler import Sampler
from defian_edge.benchmark.statistics import STEADY_CV
from defian_edge.runtime.device.nvml import open_nvml
from defian_edge.runtime.device.tegra import gpu_clock

if TYPE_CHECKING:
    from defian_edge.runtime.device.nvml import Nvml


@dataclass(frozen=True)
class Clocks:
    """The clock during one shape's timing.

    Attributes:
        shape: LR batch as NxHxW.
        megahertz: samples of the multiprocessors' clock.
        throttles: reason -> share of the samples in which the GPU gave it for a lower clock.
    """

    shape: str
    megahertz: tuple[float, ...]
    throttles: dict[str, float]

    def doubts(self) -> list[str]:
        """Sentences about a clock that moved or was held down; empty if it was neither."""
        found: list[str] = []
        low, middle, high = np.percentile(self.megahertz, [5, 50, 95])
        if high - low > STEADY_CV * middle:
            found.append(
                f"At {self.shape} the GPU's clock was not stable: {low:.0f} to {high:.0f} MHz in nine samples of ten. "
                "Lock it: nvidia-smi --lock-gpu-clocks, or jetson_clocks on a Jetson."
            )
        found += [
            f"At {self.shape} the GPU was held back by its {reason} in {share:.0%} of the samples."
            for reason, share in self.throttles.items()
        ]
        return found


class ClockWatch:
    """Samples in a thread while the ``with`` block runs; nothing happens without a GPU that tells its clock."""

    def __init__(self, nvml: Nvml | None) -> None:
        self._nvml = nvml
        self._sampler: Sampler[tuple[float, set[str]]] = Sampler(self._read)

    def _read(self) -> tuple[float, set[str]] | None:
        clock = gpu_clock() if self._nvml is None else self._nvml.clock()
        if clock is None:
            return None
        return clock, set() if self._nvml is None else self._nvml.throttles()

    def __enter__(self) -> ClockWatch:
        self._sampler.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sampler.__exit__()

    def clocks(self, shape: str) -> Clocks | None:
        """What was seen; None if nothing was."""
        taken = [sample for _, sample in self._sampler.samples]
        if not taken:
            return None
        reasons = sorted(set().union(*(each for _, each in taken)))
        shares = {reason: sum(reason in each for _, each in taken) / len(taken) for reason in reasons}
        return Clocks(shape, tuple(clock for clock, _ in taken), shares)


def watch_clocks() -> ClockWatch:
    """A watch of this machine's GPU."""
    return ClockWatch(open_nvml())
