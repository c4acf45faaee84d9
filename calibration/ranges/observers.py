"""Running statistics of activations: each sees one tensor [N, C, H, W] at a time and keeps a constant amount."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnx_ir as ir

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.calibration.ranges.estimators import LIMITS
from defian_edge.calibration.ranges.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Observer(Protocol):
    """What :func:`observe` feeds."""

    def add(self, *values: np.ndarray) -> None:
        """See the next tensor, or one of each if it watches several."""


class ChannelMaxima:
    """Largest magnitude per channel, ``maxima`` [C]."""

    def __init__(self, channels: int) -> None:
        self.maxima = np.zeros(channels)

    def add(self, values: np.ndarray) -> None:
        self.maxima = np.maximum(self.maxima, np.abs(values).max(axis=(0, 2, 3)))


class Magnitudes:
    """Magnitudes of a tensor over all pictures, and what each limit of a range clips in single ones.

    ``histogram`` counts all of them. ``worst`` [K] is the most that clipping at each of :data:`LIMITS` costs any
    picture, ``mean`` [K] what it costs them on average, both as mean squared errors. A picture is what one call sees.
    """

    def __init__(self) -> None:
        self.histogram = Histogram()
        self.worst, self._sum, self._pictures = np.zeros(len(LIMITS)), np.zeros(len(LIMITS)), 0

    def add(self, values: np.ndarray) -> None:
        picture = Histogram()
        picture.add(values)
        self.histogram.merge(picture)
        clipped = picture.clipped(LIMITS)
        self.worst = np.maximum(self.worst, clipped)
        self._sum += clipped
        self._pictures += 1

    @property
    def mean(self) -> np.ndarray:
        return self._sum / max(self._pictures, 1)


class JointMoment:
    """Second moment of an image's windows, a constant 1, and the pixels of a feature map, side by side.

    ``moment`` is [C' k k + 1 + C, C' k k + 1 + C]. A pixel ``x`` counts with ``sqrt(x^T metric x)``: ranges
    are set by the strongest pixels, which an unweighted moment hardly sees.

    Args:
        channels: C' of the image.
        kernel: k, odd; the image is zero outside.
        metric: [C, C], positive semidefinite: the squared effect of a change of ``x`` is ``x^T metric x``.
    """

    def __init__(self, channels: int, kernel: int, metric: np.ndarray) -> None:
        self._kernel, self._metric = kernel, metric
        self.moment = np.zeros((channels * kernel**2 + 1 + len(metric),) * 2)

    def add(self, image: np.ndarray, pixels: np.ndarray) -> None:
        reach = self._kernel // 2
        padded = np.pad(image, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (self._kernel,) * 2, axis=(2, 3))
        rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, image.shape[1] * self._kernel**2)
        flat = pixels.transpose(0, 2, 3, 1).reshape(len(rows), -1).astype(np.float64)
        joint = np.concatenate([rows, np.ones((len(rows), 1)), flat], axis=1)
        weights = np.sqrt(np.maximum(np.einsum("nc,nc->n", flat @ self._metric, flat), 0.0))
        self.moment += (joint * weights[:, None]).T @ joint


def observe(
    model: ir.Model, observers: Sequence[tuple[Sequence[str], Observer]], patches: Iterable[np.ndarray]
) -> None:
    """Run the FP32 graph on every patch and show tensors to their observers.

    Args:
        model: a FP32 graph with uint8 I/O; it is not changed.
        observers: names of values of the main graph, and who sees them.
        patches: uint8 RGB [H, W, 3]; the graph does the pre-processing, as in inference.

    Raises:
        ValueError: an activation is NaN or infinite.
    """
    copy = ir.from_proto(ir.to_proto(model))
    values = {value.name: value for node in copy.graph for value in node.outputs}
    names = list(dict.fromkeys(name for watched, _ in observers for name in watched))
    copy.graph.outputs.extend(values[name] for name in names)
    session = session_of(copy)
    image = session.get_inputs()[0].name
    for patch in patches:
        seen = dict(zip(names, map(np.asarray, session.run(names, {image: patch[None]})), strict=True))
        for watched, observer in observers:
            observer.add(*(seen[name] for name in watched))
