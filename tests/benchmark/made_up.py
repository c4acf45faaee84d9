"""Candidates whose time and pictures are made up, and the clock that they move."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from defian_edge.benchmark.candidates import Candidate


class FakeClock:
    """A clock that only work moves, on a machine that gets slower and is never quite steady."""

    def __init__(self, drift: float = 0.002, jitter: float = 0.004) -> None:
        self.now = 0.0
        self._drift, self._jitter = drift, jitter
        self._random = np.random.default_rng(0)
        self._worked = 0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self._worked += 1
        self.now += seconds * (1 + self._drift * self._worked) * (1 + self._jitter * self._random.standard_normal())


def made_up(
    name: str, run, kind: str = "engine", precision: str = "fp16", sha256: str = "", scale: int = 2
) -> Candidate:
    """A candidate that does what the function does."""
    return Candidate(name, kind, Path(name), "made-up", scale, precision, sha256, "a function", run)
