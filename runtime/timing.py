"""Compare candidates within one run, taking turns, so that drift of the machine does not decide."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Latency:
    """Samples of one candidate in seconds, and its ratio to the first candidate, round by round."""

    name: str
    seconds: np.ndarray
    ratios: np.ndarray

    @property
    def median(self) -> float:
        """Median latency in seconds."""
        return float(np.median(self.seconds))

    def percentile(self, percent: float) -> float:
        """A percentile of the latency in seconds, linearly interpolated."""
        return float(np.percentile(self.seconds, percent))

    @property
    def ratio(self) -> float:
        """Median of the round-by-round ratios to the first candidate."""
        return float(np.median(self.ratios))

    @property
    def ratio_spread(self) -> tuple[float, float]:
        """First and third quartile of these ratios."""
        low, high = np.percentile(self.ratios, [25, 75])
        return float(low), float(high)


def take_turns(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    *,
    seconds: float = 0.0,
    warm_up_seconds: float = 0.0,
    after: Callable[[str], object] = lambda _: None,
) -> list[Latency]:
    """Run every candidate once per round, in an order that is reversed every other round.

    Args:
        candidates: name -> what to time; the first one is what the others are compared with.
        rounds: samples per candidate, at least.
        clock: monotonic, in seconds.
        seconds: go on until every candidate has been timed for that long in all.
        warm_up_seconds: run every candidate untimed for that long before the first round, and once at least.
        after: told the name of a candidate after each of its timed runs, outside of the time taken.

    Raises:
        DefianError: no candidate, or fewer than one round.
    """
    if not candidates or rounds < 1:
        raise DefianError(f"Expected a candidate and a round at least, found {len(candidates)} and {rounds}.")
    for run in candidates.values():
        start = clock()
        run()
        while clock() - start < warm_up_seconds:
            run()
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    index = 0
    while index < rounds or min(sum(taken) for taken in samples.values()) < seconds:
        for name in list(candidates)[:: -1 if index % 2 else 1]:
            start = clock()
            candidates[name]()
            samples[name].append(clock() - start)
            after(name)
        index += 1
    first = np.asarray(next(iter(samples.values())))
    return [Latency(name, np.asarray(taken), np.asarray(taken) / first) for name, taken in samples.items()]
