"""Range estimators: which magnitude the largest integer of a symmetric INT8 quantiser stands for.

All of them read running statistics, so none needs the activations again, and all are independent of the order in
which the pictures came.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.calibration.ranges.histogram import BINS

if TYPE_CHECKING:
    from collections.abc import Callable

    from defian_edge.calibration.ranges.histogram import Histogram

LEVELS = 127
"""Largest integer of the symmetric quantiser; -128 is not used, so that the negative side is the mirror image."""
LARGEST_PERCENTILE = 99.999
SMALLEST_SHARE = 0.05
"""MSE and entropy never clip below this share of the largest magnitude."""
CANDIDATES = 128
CLIPPING = 2.0
"""How much a squared error of clipping weighs against one of rounding in MSE, because other photos clip more than the
calibration's. ``python -m tools.ablation`` tries others (docs/quantisation.md has the table).
"""
DRAWN = 0.025
"""How much a squared error of clipping in the pictures drawn by code weighs against one of rounding in photos, for a
network that enlarges twice. Lines and lights at full contrast reach up to ten times as far as photos do.
``python -m tools.ablation --only drawn`` tries others.
"""
LIMITS = 2.0 ** (np.arange(-24 * 16, 24 * 16 + 1) / 16)
"""Limits [K] of which it is known what each clips in single pictures, 4.4 % apart."""
SMALLEST_PROBABILITY = 1e-12
"""Stands for zero where the quantised distribution has none of what the clipped one has."""


class RangeMethod(str, Enum):
    """How the range is chosen from the magnitudes seen.

    ``robust``: least sum of the mean squared errors of rounding in all photos, of clipping in the photo that is clipped
    most, weighted by :data:`CLIPPING`, and of clipping in drawn pictures, weighted by :data:`DRAWN`: what no photo of
    the calibration shows is clipped in others, and most in pictures of more contrast. ``minmax``: the largest.
    ``percentile``: 99.999 % of the values do not exceed it. ``mse``: least mean squared error of rounding and clipping
    together over all photos, clipping weighted by :data:`CLIPPING`. ``entropy``: least Kullback-Leibler divergence
    between the clipped distribution and its quantised form (S. Migacz, 8-bit inference with TensorRT, GTC 2017).
    """

    ROBUST = "robust"
    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"
    ENTROPY = "entropy"


@dataclass(frozen=True)
class Clipped:
    """What each of :data:`LIMITS` clips in a tensor, as mean squared errors [K].

    Attributes:
        worst: of the photo that is clipped most.
        drawn: of the pictures drawn by code, on average.
        largest: magnitude in any of these pictures, photos included.
    """

    worst: np.ndarray
    drawn: np.ndarray
    largest: float


def drawn_weight(drawn: float, scale: int) -> float:
    """The weight of drawn pictures for a network that enlarges ``scale`` times, from that for twice.

    The more it enlarges, the further its picture is from the original, and the fewer dB the same rounding costs in it;
    what is clipped is seen all the same.
    """
    return drawn * (scale / 2) ** 2


def range_of(
    histogram: Histogram,
    method: RangeMethod,
    roundings: float = 1.0,
    clipping: float = CLIPPING,
    clipped: Clipped | None = None,
    drawn: float = DRAWN,
) -> float:
    """Largest magnitude to represent, > 0 and never above the largest seen.

    Args:
        histogram: magnitudes of the tensor.
        method: the estimator.
        roundings: how often the values are rounded on their way, for MSE and robust ranges. In a residual stream each
            block rounds again, and the errors add up, while what was clipped once stays clipped.
        clipping: weight of a squared error of clipping against one of rounding, for the same.
        clipped: what is clipped in single pictures, for robust ranges; without it all values count as one picture's.
        drawn: weight of what is clipped in drawn pictures, for robust ranges.

    A tensor that is zero everywhere gets the range 1: any scale represents it exactly.
    """
    seen = clipped if method is RangeMethod.ROBUST and clipped is not None else histogram
    if seen.largest <= 0.0:
        return 1.0
    if method is RangeMethod.PERCENTILE:
        limit = histogram.percentile(LARGEST_PERCENTILE)
    elif method is RangeMethod.ROBUST:
        limit = _robust(histogram, clipped or _as_one(histogram), roundings, clipping, drawn)
    elif method is RangeMethod.MSE:
        limit = _least(lambda seen, limit: _squared_error(seen, limit, roundings, clipping), histogram)
    elif method is RangeMethod.ENTROPY:
        limit = _least(_divergence, histogram)
    else:
        limit = histogram.largest
    return limit if limit > 0.0 else histogram.largest


def _least(cost: Callable[[Histogram, float], float], histogram: Histogram) -> float:
    """The candidate of least cost; of equals the largest, which clips least."""
    candidates = histogram.largest * np.linspace(1.0, SMALLEST_SHARE, CANDIDATES)
    costs = [cost(histogram, float(limit)) for limit in candidates]
    return float(candidates[int(np.argmin(costs))])


def _as_one(histogram: Histogram) -> Clipped:
    return Clipped(histogram.clipped(LIMITS), np.zeros(len(LIMITS)), histogram.largest)


def _robust(histogram: Histogram, clipped: Clipped, roundings: float, clipping: float, drawn: float) -> float:
    """The one of :data:`LIMITS`, or the largest magnitude seen, of least cost; of equals the largest."""
    first, last = np.searchsorted(LIMITS, [SMALLEST_SHARE * histogram.largest, clipped.largest])
    inside = np.arange(first, last)[::-1]
    candidates = np.append(clipped.largest, LIMITS[inside])
    lost = np.append(0.0, (clipping * clipped.worst + drawn * clipped.drawn)[inside])
    rounded = [_squared_error(histogram, float(limit), roundings, 0.0) for limit in candidates]
    return float(candidates[int(np.argmin(np.asarray(rounded) / histogram.total + lost))])


def _squared_error(histogram: Histogram, limit: float, roundings: float, clipping: float) -> float:
    """Weighted sum of squared errors of rounding (spread evenly where a step has few bins) and of clipping."""
    step = limit / LEVELS
    used = histogram.counts > 0
    centres, counts = histogram.centres[used], histogram.counts[used]
    if step < 4.0 * histogram.bin_width:
        rounding = np.full(len(centres), step**2 / 12.0)
    else:
        rounding = (centres - np.rint(centres / step) * step) ** 2
    return float(np.where(centres > limit, clipping * (centres - limit) ** 2, roundings * rounding) @ counts)


def _divergence(histogram: Histogram, limit: float) -> float:
    """Kullback-Leibler divergence in nats of the quantised distribution from the clipped one.

    The first bin counts no more than its neighbour: the zeros behind a ReLU are exact at any scale, and would
    outweigh everything that is not.
    """
    bins = min(BINS, max(LEVELS + 1, round(limit / histogram.bin_width)))
    clipped = histogram.counts[:bins].astype(np.float64)
    clipped[0] = min(clipped[0], clipped[1])
    inside = clipped.copy()
    clipped[-1] += histogram.counts[bins:].sum()
    levels = np.arange(bins) * (LEVELS + 1) // bins
    used = inside > 0
    mass = np.bincount(levels, inside, LEVELS + 1)
    sharers = np.maximum(np.bincount(levels, used, LEVELS + 1), 1)
    quantised = np.where(used, (mass / sharers)[levels], 0.0)
    if not quantised.any():
        return math.inf
    p, q = clipped / clipped.sum(), quantised / quantised.sum()
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], SMALLEST_PROBABILITY))))
