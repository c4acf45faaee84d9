"""What is said of a list of latencies, and when two candidates differ. Definitions as in NVIDIA's trtexec."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFINITIONS = {
    "latency": "seconds from a uint8 batch in host memory to the uint8 result in host memory, synchronised",
    "enqueue": "seconds in which the host hands the network of one run to the device, by the host's clock, as trtexec",
    "h2d": "seconds from the start to the end of the copy of the batch to the device, by events on its stream",
    "compute": "seconds from the start to the end of the network on the device, by events on its stream",
    "d2h": "seconds from the start to the end of the copy of the result to the host, by events on its stream",
    "device": "device latency: h2d + compute + d2h, summed run by run; this is what trtexec calls latency",
    "percentile": "the smallest sample that at least that share of the samples does not exceed, as in trtexec",
    "median": "the middle sample, or the mean of the two middle ones, as in trtexec",
    "throughput": "images of all timed runs over the sum of their latencies; candidates never overlap",
    "cv": "coefficient of variation: sample standard deviation over mean",
    "ratio": "latency over that of the first candidate in the same round; the median of the rounds, its quartiles, "
    "and the order-statistic confidence interval of the median, 99 % or more",
    "device memory": "bytes by which the GPU's free memory is smaller than before loading: after loading, and the most "
    "after loading or any run; without the CUDA context",
    "energy": "joules of the named source while one candidate runs over and over, over its images; idle power included",
    "tile drift": "PSNR-Y lost in tiles against the same candidate in one piece, dB",
    "bound": "no measurement: the larger of twice the MACs over the peak rates and the least bytes over the bandwidth, "
    "at the clock that the device's maker publishes",
    "verdict": "faster or slower if that interval excludes 1 and the ratio is at least 1 % away from it; no difference "
    "if it is neither and the whole interval lies between 1/1.025 and 1.025; otherwise not told apart",
}
CONFIDENCE = 0.99
SMALLEST_EFFECT = 0.01
STEADY_CV = 0.025
"""Above this coefficient of variation a latency is called unsteady."""
SAME = 0.025
"""An interval of the ratio inside of 1/1.025 to 1.025 rules out a difference that would matter."""


@dataclass(frozen=True)
class Summary:
    """Statistics of one candidate's latencies; seconds, and a count."""

    count: int
    minimum: float
    maximum: float
    mean: float
    median: float
    p90: float
    p95: float
    p99: float
    cv: float


def summarise(seconds: Sequence[float]) -> Summary:
    """Statistics of at least one latency in seconds."""
    values = np.sort(np.asarray(seconds, np.float64))
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return Summary(
        count=len(values),
        minimum=float(values[0]),
        maximum=float(values[-1]),
        mean=mean,
        median=float(np.median(values)),
        p90=percentile(values, 90),
        p95=percentile(values, 95),
        p99=percentile(values, 99),
        cv=spread / mean if mean > 0 else math.nan,
    )


def percentile(ascending: np.ndarray, percent: int) -> float:
    """Trtexec's percentile: of n sorted samples the one at ``n - 1 - floor(n (100 - percent) / 100)``."""
    excluded = len(ascending) * (100 - percent) // 100
    return float(ascending[max(len(ascending) - 1 - excluded, 0)])


@dataclass(frozen=True)
class Comparison:
    """A candidate against another one, round by round.

    Attributes:
        ratio: median of the rounds' latency ratios.
        quartiles: first and third.
        interval: confidence interval of the median; None with too few rounds for one.
    """

    ratio: float
    quartiles: tuple[float, float]
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """``faster``, ``slower``, ``no difference``, ``not told apart`` or ``too few rounds``."""
        if self.interval is None:
            return "too few rounds"
        low, high = self.interval
        if not low <= 1.0 <= high and abs(self.ratio - 1.0) >= SMALLEST_EFFECT:
            return "slower" if self.ratio > 1.0 else "faster"
        # An interval that holds 1 because it is wide shows nothing, least of all that two artefacts are alike.
        return "no difference" if low >= 1.0 / (1.0 + SAME) and high <= 1.0 + SAME else "not told apart"


def compare(ratios: Sequence[float]) -> Comparison:
    """Judge the ratios of at least one round."""
    values = np.sort(np.asarray(ratios, np.float64))
    low, high = np.percentile(values, [25, 75])
    return Comparison(float(np.median(values)), (float(low), float(high)), median_interval(values))


def median_interval(ascending: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Interval between two order statistics that holds the median with this confidence, whatever the distribution.

    Of n independent samples the number below the median is binomial(n, 1/2). None if n is too small (below 8 for 99 %).
    """
    n = len(ascending)
    below = 0.0
    rank = -1
    for successes in range(n):
        below += math.comb(n, successes) * 0.5**n if n < 1000 else _binomial_half(n, successes)
        if 2.0 * below > 1.0 - confidence:
            break
        rank = successes
    return None if rank < 0 else (float(ascending[rank]), float(ascending[n - 1 - rank]))


def _binomial_half(n: int, successes: int) -> float:
    """The same probability by logarithms, where the powers would leave the range of a float."""
    logarithm = math.lgamma(n + 1) - math.lgamma(successes + 1) - math.lgamma(n - successes + 1)
    return math.exp(logarithm - n * math.log(2.0))
