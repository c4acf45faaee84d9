"""Energy per image: joules of the board or module while one candidate runs, over the images that it made."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.benchmark.gpu.sampler import Sampler
from defian_edge.runtime.device.nvml import open_nvml
from defian_edge.runtime.device.tegra import Tegrastats, find_tegrastats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from defian_edge.runtime.device.nvml import Nvml
    from defian_edge.runtime.profile import Shape

SECONDS = 2.0
"""How long a candidate runs for it, at least: counters and sensors are renewed ten times a second or so."""
NOTHING = "neither NVML nor tegrastats gives power here"


@dataclass(frozen=True)
class Energy:
    """What one candidate took at one LR shape.

    Attributes:
        shape: batch, height, width of the LR batch.
        joules_per_image: of ``source``, idle power included.
        watts: the mean.
        images, seconds: what that was measured on.
        source: whose energy it is, and how it was read.
    """

    shape: Shape
    joules_per_image: float
    watts: float
    images: int
    seconds: float
    source: str


class Meter:
    """Measures the joules of a stretch of work.

    Args:
        nvml: the card; None for none.
        tegrastats: the program of that name; used where there is no card with a power sensor.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, nvml: Nvml | None, tegrastats: str | None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._nvml, self._tegrastats, self._clock = nvml, tegrastats, clock
        self._counts = nvml is not None and nvml.energy() is not None
        self._sampled = nvml is not None and nvml.power() is not None

    @property
    def source(self) -> str:
        """Whose energy is measured, and how; empty if nothing gives power."""
        if self._nvml is not None and self._counts:
            return f"energy counter of {self._nvml.name}, by NVML"
        if self._nvml is not None and self._sampled:
            return f"sampled power of {self._nvml.name}, by NVML"
        return "sampled power of the module, by tegrastats" if self._tegrastats else ""

    def covers(self, *, on_gpu: bool) -> bool:
        """Whether a candidate's work is in the figure: a card's does not hold what the CPU takes, a module's does."""
        return bool(self.source) and (on_gpu or not (self._counts or self._sampled))

    def joules(self, work: Callable[[], object]) -> tuple[float | None, float]:
        """Do the work; the joules that it took, None if the sensor fell silent, and its seconds."""
        if self._nvml is not None and self._counts:
            begun, before = self._clock(), self._nvml.energy()
            work()
            after, ended = self._nvml.energy(), self._clock()
            moved = 0.0 if before is None or after is None else after - before
            return (moved if moved > 0 else None), ended - begun
        if self._nvml is not None and self._sampled:
            sampler = Sampler(self._nvml.power, clock=self._clock)
        elif self._tegrastats:
            sampler = Tegrastats(self._tegrastats, self._clock)
        else:
            raise ValueError(NOTHING)
        with sampler:
            begun = self._clock()
            work()
            ended = self._clock()
        return integral(sampler.samples, begun, ended), ended - begun


def open_meter() -> Meter:
    """What this machine offers; its ``source`` is empty if that is nothing."""
    return Meter(open_nvml(), find_tegrastats())


def integral(samples: Sequence[tuple[float, float]], begun: float, ended: float) -> float | None:
    """Joules between two times from (time, watts), linear between samples and level beyond; None with fewer than two.

    Samples outside of the stretch only tell what it began and ended with.
    """
    inside = [each for each in samples if begun <= each[0] <= ended]
    if len(inside) < 2:
        return None
    times, watts = (np.asarray(values, np.float64) for values in zip(*samples, strict=True))
    grid = np.concatenate([[begun], times[(times > begun) & (times < ended)], [ended]])
    levels = np.interp(grid, times, watts)
    return float(np.sum(np.diff(grid) * (levels[1:] + levels[:-1]) / 2))


def measure_energy(
    run: Callable[[np.ndarray], object],
    shape: Shape,
    meter: Meter,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Energy | None:
    """Run on one random batch over and over; None if the sensor fell silent meanwhile."""
    batch = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    images = 0

    def work() -> None:
        nonlocal images
        until = clock() + seconds
        while images == 0 or clock() < until:
            run(batch)
            images += shape[0]

    joules, taken = meter.joules(work)
    if joules is None:
        return None
    return Energy(shape, joules / images, joules / taken, images, taken, meter.source)
