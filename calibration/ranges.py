"""Activation ranges from calibration patches: running histograms and the estimators over them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from calibration.evaluator import session_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx_ir as ir

BINS = 1 << 13
SMALLEST_RANGE_EXPONENT = -24
LARGEST_PERCENTILE = 99.999


class RangeMethod(str, Enum):
    """How the range of a symmetric quantiser is chosen from the magnitudes seen."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"


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
        self.largest = max(self.largest, largest)
        while largest >= 2.0**self.exponent:
            self.counts[: BINS // 2] = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[BINS // 2 :] = 0
            self.exponent += 1
        # A power of two as factor is exact, so that equal values always meet in the same bin.
        indices = (magnitudes * np.float32(BINS * 2.0**-self.exponent)).astype(np.int32)
        self.counts += np.bincount(indices, minlength=BINS)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def bin_width(self) -> float:
        """Width of one bin."""
        return 2.0**self.exponent / BINS

    def percentile(self, percent: float) -> float:
        """A magnitude that at least ``percent`` of the values do not exceed, never above the largest."""
        if self.total == 0:
            return 0.0
        cumulative = np.cumsum(self.counts)
        index = int(np.searchsorted(cumulative, math.ceil(self.total * percent / 100.0)))
        return min((index + 1) * self.bin_width, self.largest)


def range_of(histogram: Histogram, method: RangeMethod) -> float:
    """Largest magnitude to represent, > 0.

    A tensor that is zero everywhere gets the range 1: any scale represents it exactly.
    """
    limit = histogram.largest if method is RangeMethod.MINMAX else histogram.percentile(LARGEST_PERCENTILE)
    return limit if limit > 0.0 else 1.0


def collect_histograms(
    model: ir.Model, tensors: Sequence[str], patches: Iterable[np.ndarray]
) -> Mapping[str, Histogram]:
    """Run the FP32 graph on every patch and count the magnitudes of the named tensors.

    Args:
        model: a FP32 graph with uint8 I/O; it is not changed.
        tensors: names of values of its main graph.
        patches: uint8 RGB [H, W, 3]; the graph does the pre-processing, as in inference.
    """
    import onnx_ir as ir

    copy = ir.from_proto(ir.to_proto(model))
    values = {value.name: value for node in copy.graph for value in node.outputs}
    copy.graph.outputs.extend(values[name] for name in tensors)
    session = session_of(copy)
    histograms = {name: Histogram() for name in tensors}
    image = session.get_inputs()[0].name
    for patch in patches:
        results = session.run(list(tensors), {image: patch[None]})
        for name, result in zip(tensors, results, strict=True):
            histograms[name].add(np.asarray(result))
    return histograms
