"""How far a pixel is seen: measured, because what tiles cost follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from defian_edge.export.source.base import Sizes
    from defian_edge.export.source.sizes import Fit, Run

HEIGHT, WIDTH = 16, 384
"""LR pixels of the picture that is measured on: long, so that a network that sees far still has an end."""
LAST = 64
"""The last of the columns at its left end that are changed."""
PLACES = 4
"""So many neighbouring columns are the last one in turn: what a pixel of a window sees depends on its place in it."""
TOLERANCE = 2.0**-20
"""Of the largest value of the result: what changes less is taken for the order of a sum."""


def measure_reach(run: Run, channels: int, fit: Fit, sizes: Sizes) -> dict[str, Any]:
    """Change the first columns of a picture and see how far its result changes.

    Returns:
        ``whole_image``: whether the result changed up to the far end; ``pixels``: LR pixels from a changed pixel to the
        farthest one that changed with it, if that was not the far end. A network of many layers whose weights make far
        pixels count for less than the tolerance has the smaller reach, which is what tiles show.

    Raises:
        DefianError: the result is not finite.
    """
    height, width = sizes.height or fit.padded(HEIGHT), sizes.width or fit.padded(WIDTH)
    last = LAST
    while last > width // 4:
        last //= 2
    image = np.random.default_rng(0).random((1, channels, height, width)).astype(np.float32)
    before = np.asarray(run(image), np.float64)
    if not np.isfinite(before).all():
        raise DefianError(f"The network gives NaN or Inf on noise of {height}x{width}.", "Train or download it again.")
    limit, pixels = TOLERANCE * np.abs(before).max(), 0
    for end in range(max(last - PLACES, 0) + 1, last + 1):
        changed = image.copy()
        changed[..., : end + 1] = 0.0  # not inverted: that would leave the mean as it is, which is what a gate sees
        difference = np.abs(np.asarray(run(changed), np.float64) - before).max(axis=(0, 1, 2))
        farthest = int(np.flatnonzero(difference > limit)[-1]) // fit.scale if (difference > limit).any() else 0
        if farthest >= width - 1:
            return {"whole_image": True}
        pixels = max(pixels, farthest - end)
    return {"whole_image": False, "pixels": pixels}
