"""The linear map behind upscale and output: its composed kernel and what the image border adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

REACH = 2
"""How far, in low-resolution pixels, the composed kernel reads to each side."""

_PROBE = 11
_MIDDLE = _PROBE // 2


@dataclass(frozen=True)
class Stage:
    """A 3x3 convolution with zero padding, kernel [O, I, 3, 3], followed by a pixel shuffle by ``factor``."""

    kernel: np.ndarray
    factor: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Run the stage on [N, I, H, W] in float64."""
        height, width = x.shape[2:]
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        taps = [
            np.tensordot(padded[:, :, dy : dy + height, dx : dx + width], self.kernel[:, :, dy, dx], axes=(1, 1))
            for dy in range(3)
            for dx in range(3)
        ]
        return _shuffle(np.moveaxis(sum(taps[1:], taps[0]), 3, 1), self.factor)


def _shuffle(x: np.ndarray, factor: int) -> np.ndarray:
    batch, channels, height, width = x.shape
    split = x.reshape(batch, channels // factor**2, factor, factor, height, width)
    return split.transpose(0, 1, 4, 2, 5, 3).reshape(batch, -1, height * factor, width * factor)


def _unshuffle(x: np.ndarray, factor: int) -> np.ndarray:
    batch, channels, height, width = x.shape
    split = x.reshape(batch, channels, height // factor, factor, width // factor, factor)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(batch, -1, height // factor, width // factor)


class LinearTail:
    """A chain of stages seen as one linear map from [C, H, W] to the 3 s^2 phases [3 s^2, H, W].

    The kernels are read off by probing: the chain is run in float64 on one impulse per input channel, in
    the middle of an image (the composed kernel), near one edge and near one corner (what is left after the
    composed kernel, and at a corner after both edges, is the correction). Probing an exact linear map is
    exact, and the same code serves every scale.

    Args:
        stages: the convolutions with their shuffles; the last one has factor 1.
        bias: bias of the last convolution, [3].

    Raises:
        ValueError: the border's influence reaches beyond the outer ring of low-resolution pixels, so that
            ring corrections could not be exact.
    """

    def __init__(self, stages: Sequence[Stage], bias: np.ndarray) -> None:
        self._stages = [Stage(stage.kernel.astype(np.float64), stage.factor) for stage in stages]
        self.scale = int(np.prod([stage.factor for stage in stages]))
        self.bias = np.repeat(bias, self.scale**2).astype(np.float32)

    def _response(self, row: int, column: int) -> np.ndarray:
        """Phases [C, 3 s^2, P, P] of the exact chain for one impulse per channel at (row, column)."""
        channels = self._stages[0].kernel.shape[1]
        impulse = np.zeros((channels, channels, _PROBE, _PROBE))
        impulse[np.arange(channels), np.arange(channels), row, column] = 1.0
        upscaled = reduce(lambda x, stage: stage(x), self._stages, impulse)
        return _unshuffle(upscaled, self.scale)

    @cached_property
    def _composed(self) -> np.ndarray:
        window = slice(_MIDDLE - REACH, _MIDDLE + REACH + 1)
        # Output pixel p sees the impulse at offset q - p, hence the flip.
        return self._response(_MIDDLE, _MIDDLE)[:, :, window, window].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]

    @property
    def interior(self) -> np.ndarray:
        """The composed kernel, [3 s^2, C, 5, 5] float32."""
        return np.ascontiguousarray(self._composed, dtype=np.float32)

    def _surplus(self, row: int, column: int) -> np.ndarray:
        """Exact response less the composed kernel's, [C, 3 s^2, P, P], for an impulse at (row, column)."""
        difference = self._response(row, column)
        kernel = self._composed.transpose(1, 0, 2, 3)
        for y in range(max(0, row - REACH), min(_PROBE, row + REACH + 1)):
            for x in range(max(0, column - REACH), min(_PROBE, column + REACH + 1)):
                difference[:, :, y, x] -= kernel[:, :, row - y + REACH, column - x + REACH]
        difference[np.abs(difference) < 1e-12 * np.abs(kernel).max()] = 0.0
        return difference

    @cached_property
    def edges(self) -> dict[str, np.ndarray]:
        """Corrections of the four edges, float64, keyed top, bottom ([O, C, d, 5]) and left, right ([O, C, 5, d])."""
        window = slice(_MIDDLE - REACH, _MIDDLE + REACH + 1)
        last = _PROBE - 1
        kernels = {}
        for name, at_end in (("top", False), ("bottom", True)):
            strips = []
            for depth in range(REACH + 1):
                surplus = self._surplus(last - depth if at_end else depth, _MIDDLE)
                _require_ring(np.delete(surplus, last if at_end else 0, axis=2))
                strips.append(surplus[:, :, last if at_end else 0, window][:, :, ::-1])
            kernels[name] = _stack(strips, axis=2, reverse=at_end)
        for name, at_end in (("left", False), ("right", True)):
            strips = []
            for depth in range(REACH + 1):
                surplus = self._surplus(_MIDDLE, last - depth if at_end else depth)
                _require_ring(np.delete(surplus, last if at_end else 0, axis=3))
                strips.append(surplus[:, :, window, last if at_end else 0][:, :, ::-1])
            kernels[name] = _stack(strips, axis=3, reverse=at_end)
        return kernels

    def corner(self, vertical: str, horizontal: str) -> np.ndarray:
        """What is left at one corner pixel after both edges, [O, C, d, d] float64, for the corner's d x d pixels."""
        bottom, right = vertical == "bottom", horizontal == "right"
        row_kernel, column_kernel = self.edges[vertical], self.edges[horizontal]
        depth = max(row_kernel.shape[2], column_kernel.shape[3])
        last = _PROBE - 1
        kernel = np.zeros((*row_kernel.shape[:2], depth, depth))
        for down in range(depth):
            for across in range(depth):
                row, column = (last - down if bottom else down), (last - across if right else across)
                surplus = self._surplus(row, column)[:, :, last if bottom else 0, last if right else 0].T.copy()
                if down < row_kernel.shape[2]:
                    index = -1 - down if bottom else down
                    surplus -= row_kernel[:, :, index, REACH + (-across if right else across)]
                if across < column_kernel.shape[3]:
                    index = -1 - across if right else across
                    surplus -= column_kernel[:, :, REACH + (-down if bottom else down), index]
                kernel[:, :, -1 - down if bottom else down, -1 - across if right else across] = surplus
        return kernel


def _require_ring(elsewhere: np.ndarray) -> None:
    if elsewhere.any():
        raise ValueError("the image border changes more than the outer ring of low-resolution pixels")


def _stack(strips: list[np.ndarray], axis: int, *, reverse: bool) -> np.ndarray:
    """Strips [C, O, 5] by distance from the edge -> kernel [O, C, d, 5] or [O, C, 5, d] in image order."""
    depth = max((index + 1 for index, strip in enumerate(strips) if strip.any()), default=1)
    used = strips[:depth][::-1] if reverse else strips[:depth]
    return np.stack([strip.transpose(1, 0, 2) for strip in used], axis=axis)
