"""The frame guard: notices results that no picture can explain.

NaN inside a network leaves a uint8 graph as black or, on some hardware, white: over the whole frame where the global
statistics spread it, in a patch where it arises behind them, in one channel where it arises in the last convolution.
Such a frame is counted and reported, once as a warning. Patches whose input is within 64 grey levels of black, or of
white, are not judged against it: there only a whole frame that is black or white is noticed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_STEP = 61
PATCH = 3
"""LR pixels. A value that goes wrong before the last convolution (5x5) spoils 5x5, or what of it lies inside the frame;
that holds a patch wherever it is, as the last row and column of patches end at the edges."""
FAR = 64
"""Grey levels by which the mean of an upscaled patch cannot differ from that of its input."""


class SuspiciousFrameWarning(UserWarning):
    """A frame, or a patch of one, came out black or white although what went in was not."""


@dataclass
class FrameGuard:
    """Counts the frames of a session and those that are suspicious."""

    frames: int = 0
    suspicious: int = 0

    def see(self, images: NDArray[np.uint8], upscaled: NDArray[np.uint8]) -> None:
        """Look at a batch, uint8 [N, H, W, 3] in and uint8 [N, sH, sW, 3] out; warns at the first suspicious frame."""
        for image, result in zip(images, upscaled, strict=True):
            self.frames += 1
            place = suspicious_place(image, result)
            if place is not None:
                self.suspicious += 1
                if self.suspicious == 1:
                    warnings.warn(
                        f"Frame {self.frames} came out {place} although the input is not: probably NaN or infinity "
                        "inside the network. Check the engine against its FP32 graph.",
                        SuspiciousFrameWarning,
                        stacklevel=3,
                    )


def suspicious_place(image: NDArray[np.uint8], upscaled: NDArray[np.uint8]) -> str | None:
    """What is wrong with a frame [H, W, 3] and its result [sH, sW, 3], such as ``black at 30,12``; None if nothing."""
    if is_suspicious(image, upscaled):
        return "white" if upscaled.flat[0] else "black"
    scale = upscaled.shape[0] // image.shape[0]
    tops, lefts = (_begins(side) for side in image.shape[:2])
    rows, columns = tops + PATCH // 2, lefts + PATCH // 2
    middles = image[np.ix_(rows, columns)].astype(np.int16)
    results = upscaled[np.ix_(scale * rows, scale * columns)]
    for extreme, name in ((0, "black"), (255, "white")):
        suspects = (results == extreme) & (np.abs(middles - extreme) > FAR)
        for row, column, channel in np.argwhere(suspects) if suspects.any() else ():
            top, left = int(tops[row]), int(lefts[column])
            before = image[top : top + PATCH, left : left + PATCH, channel]
            after = upscaled[scale * top : scale * (top + PATCH), scale * left : scale * (left + PATCH), channel]
            if (after == extreme).all() and abs(float(before.mean()) - extreme) > FAR:
                return f"{name} at {left},{top} in {['red', 'green', 'blue'][channel]}"
    return None


def _begins(side: int) -> NDArray[np.intp]:
    """Where patches begin along a side, the last one at its end; none along a side that is shorter than a patch."""
    begins = np.arange(0, side - PATCH + 1, PATCH)
    return np.append(begins, side - PATCH) if side > PATCH and side % PATCH else begins


def is_suspicious(image: NDArray[np.uint8], upscaled: NDArray[np.uint8]) -> bool:
    """Whether the result is all 0 or all 255 and the input is neither nearly so."""
    for extreme in (0, 255):
        if not (upscaled.reshape(-1)[::SAMPLE_STEP] == extreme).all() or not (upscaled == extreme).all():
            continue
        return abs(float(image.mean()) - extreme) > 8
    return False
