"""Running histogram of magnitudes: constant memory, and the same result in whatever order or batches values come."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

BINS = 1 << 13
SMALLEST_RANGE_EXPONENT = -24


@dataclass
class Histogram:
    """Histogram of magnitudes with a range that grows by doubling.

    The range is always a power of two, and when it doubles two neighbouring bins become one. Bin edges
    therefore nest, and the result depends only on the set of values seen: not on their order, nor on how
    they were split into batches. Memory is constant.
    """

    exponent: int = SMALLEST_RANGE_EXPONENT
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    largest: float = 0.0

    def add(self, values: np.ndarray) -> None:
        """Count the magnitudes of finite values of any shape.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        magnitudes = np.abs(values, dtype=np.float32).ravel()
        if magnitudes.size == 0:
            return
        largest = float(magnitudes.max())
        if not math.isfinite(largest):
            raise ValueError("expected finite activations, found NaN or Inf")
        if largest > 0.0:
            self._widen(math.frexp(largest)[1])
        self.largest = max(self.largest, largest)
        # A power of two as factor is exact, so that equal values always meet in the same bin.
        indices = (magnitudes * np.float32(BINS * 2.0**-self.exponent)).astype(np.int32)
        self.counts += np.bincount(indices, minlength=BINS)

    def merge(self, other: Histogram) -> None:
        """Count what another histogram has counted; that one is not changed."""
        wider = Histogram(other.exponent, other.counts.copy(), other.largest)
        self._widen(wider.exponent)
        wider._widen(self.exponent)
        self.largest = max(self.largest, other.largest)
        self.counts += wider.counts

    def _widen(self, exponent: int) -> None:
        """Double the range until it is ``2**exponent``."""
        if self.largest > 0.0:  # zeros stay in the first bin
            for _ in range(exponent - self.exponent):
                self.counts[: BINS // 2] = self.counts.reshape(-1, 2).sum(axis=1)
                self.counts[BINS // 2 :] = 0
        self.exponent = max(self.exponent, exponent)

    def clipped(self, limits: np.ndarray) -> np.ndarray:
        """Mean squared error of clipping at each limit, float64 of the shape of ``limits``; 0 of an empty histogram."""
        if self.total == 0:
            return np.zeros(np.shape(limits))
        used = np.flatnonzero(self.counts)
        centres = np.minimum(self.centres[used], self.largest)
        counts = self.counts[used] / self.total
        above = np.searchsorted(centres, limits)
        number, first, second = (
            np.append(np.cumsum(moment[::-1])[::-1], 0.0)[above]
            for moment in (counts, counts * centres, counts * centres**2)
        )
        return np.where(
            limits >= self.largest, 0.0, np.maximum(second - 2.0 * limits * first + limits**2 * number, 0.0)
        )

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def bin_width(self) -> float:
        """Width of one bin."""
        return 2.0**self.exponent / BINS

    @property
    def centres(self) -> np.ndarray:
        """Middle of every bin, float64 [BINS]."""
        return (np.arange(BINS) + 0.5) * self.bin_width

    def percentile(self, percent: float) -> float:
        """A magnitude that at least ``percent`` of the values do not exceed, never above the largest."""
        if self.total == 0:
            return 0.0
        cumulative = np.cumsum(self.counts)
        index = int(np.searchsorted(cumulative, math.ceil(self.total * percent / 100.0)))
        return min((index + 1) * self.bin_width, self.largest)
