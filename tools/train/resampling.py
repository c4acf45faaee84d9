"""LR pictures from HR ones: Pillow's bicubic filter, or one that does what MATLAB's imresize does.

Both widen the same cubic kernel by the scale (antialiasing) and round to 8 bits after each direction. They differ at
the border, where Pillow leaves out what lies outside and MATLAB mirrors the picture, and in the order: Pillow makes
rows shorter first, MATLAB columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.runtime.images import downscale

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILTERS = ("pillow", "matlab")
SUPPORT = 4.0
"""Width of the cubic kernel in pixels of the smaller picture."""


def lr_and_hr(picture: NDArray[np.uint8], scale: int, lr_filter: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """LR of a uint8 RGB picture [H, W, 3], and the picture cropped to a multiple of the scale."""
    if lr_filter == "pillow":
        return downscale(picture, scale)
    height, width = (side - side % scale for side in picture.shape[:2])
    cropped = np.ascontiguousarray(picture[:height, :width])
    return shrink_like_matlab(cropped, scale), cropped


def shrink_like_matlab(picture: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """``imresize(picture, 1/scale, 'bicubic')`` of a uint8 picture [H, W, C] whose sides the scale divides."""
    for axis in (0, 1):
        places, weights = _contributions(picture.shape[axis], scale)
        taken = np.moveaxis(picture, axis, 0)[places]  # [out, taps, ...]
        values = np.moveaxis(np.einsum("ot,ot...->o...", weights, taken), 0, axis)
        picture = np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture)


def _contributions(side: int, scale: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each pixel of the smaller side, which pixels of the larger it is made of, and their weights."""
    centres = (np.arange(side // scale) + 0.5) * scale - 0.5
    taps = int(np.ceil(SUPPORT * scale)) + 2
    first = np.floor(centres - SUPPORT * scale / 2).astype(np.int64)
    places = first[:, None] + np.arange(taps)
    weights = _cubic((centres[:, None] - places) / scale)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.mod(places, 2 * side)
    return np.where(mirrored < side, mirrored, 2 * side - 1 - mirrored), weights


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic kernel with a = -0.5 (IEEE Trans. ASSP 29(6), 1981)."""
    x = np.abs(distance)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))
