"""The frame guard: notices results that no picture can explain.

NaN inside a network leaves a uint8 graph as a frame that is all black (or, on some hardware, all white), because the
global statistics spread it over the whole frame. Such a frame is counted and reported, once as a warning.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLE_STEP = 61


class SuspiciousFrameWarning(UserWarning):
    """A frame came out all black or all white although what went in was not."""


@dataclass
class FrameGuard:
    """Counts the frames of a session and those that are suspicious."""

    frames: int = 0
    suspicious: int = 0

    def see(self, images: NDArray[np.uint8], upscaled: NDArray[np.uint8]) -> None:
        """Look at a batch, uint8 [N, H, W, 3] in and uint8 [N, sH, sW, 3] out; warns at the first suspicious frame."""
        for image, result in zip(images, upscaled, strict=True):
            self.frames += 1
            if is_suspicious(image, result):
                self.suspicious += 1
                if self.suspicious == 1:
                    warnings.warn(
                        f"Frame {self.frames} came out {'white' if result.flat[0] else 'black'} although the input is "
                        "not: probably NaN or infinity inside the network. Check the engine against its FP32 graph.",
                        SuspiciousFrameWarning,
                        stacklevel=3,
                    )


def is_suspicious(image: NDArray[np.uint8], upscaled: NDArray[np.uint8]) -> bool:
    """Whether the result is all 0 or all 255 and the input is neither nearly so."""
    for extreme in (0, 255):
        if not (upscaled.reshape(-1)[::SAMPLE_STEP] == extreme).all() or not (upscaled == extreme).all():
            continue
        return abs(float(image.mean()) - extreme) > 8
    return False
