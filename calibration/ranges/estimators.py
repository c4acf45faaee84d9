"""Range estimators: which magnitude the largest integer of a symmetric INT8 quantiser stands for.

All of them read a running :class:`~calibration.ranges.histogram.Histogram`, so none needs the activations again, and
all are independent of the order and the batches in which the activations came.
"""

from __future__ import annotations

import math
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
SMALLEST_PROBABILITY = 1e-12
"""Stands for zero where the quantised distribution has none of what the clipped one has."""


class RangeMethod(str, Enum):
    """How the range is chosen from the magnitudes seen.

    ``minmax``: the largest. ``percentile``: 99.999 % of the values do not exceed it. ``mse``: least mean squared
    error of rounding and clipping together, clipping weighted by :data:`CLIPPING`. ``entropy``: least Kullback-Leibler
    divergence between the clipped distribution and its quantised form (S. Migacz, 8-bit inference with TensorRT,
    GTC 2017).
    """

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"
    ENTROPY = "entropy"


def range_of(histogram: Histogram, method: RangeMethod, roundings: float = 1.0, clipping: float = CLIPPING) -> float:
    """Largest magnitude to represent, > 0 and never above the largest seen.

    Args:
        histogram: magnitudes of the tensor.
        method: the estimator.
        roundings: how often the values are rounded on their way, for MSE. In a residual stream each block rounds
            again, and the errors add up, while what was clipped once stays clipped.
        clipping: weight of a squared error of clipping against one of rounding, for MSE.

    A tensor that is zero everywhere gets the range 1: any scale represents it exactly.
    """
    if histogram.largest <= 0.0:
        return 1.0
    if method is RangeMethod.PERCENTILE:
        limit = histogram.percentile(LARGEST_PERCENTILE)
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
