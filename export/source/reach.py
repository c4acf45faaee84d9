"""How far a pixel is seen: measured, because what tiles cost follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from defian_edge.export.source.base import Sizes
    from defian_edge.export.source.sizes import Fit, Run

HEIGHT, WIDTH = 24, 384
"""LR pixels of the picture that is measured on: long, so that a network that sees far still has an end."""
LAST = 64
"""The last of the columns at its left end that are changed: the first one of a window of any usual size, whose other
end is as far away as can be."""
TOLERANCE = 2.0**-20
"""Of the largest value of the result: what changes less is taken for the order of a sum."""


def measure_reach(run: Run, channels: int, fit: Fit, sizes: Sizes) -> dict[str, Any]:
    """Change the first columns of a picture and see how far its result changes.

    Returns:
        ``whole_image``: whether the result changed up to the far end; ``pixels``: LR pixels from a changed pixel to the
        farthest one that changed with it, if that was not the far end. A network of many layers whose weights make far
        pixels count for less than the tolerance has the smaller reach, which is what tiles show.
    """
    height, width = sizes.height or fit.padded(HEIGHT), sizes.width or fit.padded(WIDTH)
    last = LAST
    while last > width // 4:
        last //= 2
    first = np.random.default_rng(0).random((1, channels, height, width)).astype(np.float32)
    second = first.copy()
    second[..., : last + 1] = 0.0  # not inverted: that would leave the mean as it is, which is what a gate sees
    results = [np.asarray(run(image), np.float64) for image in (first, second)]
    difference = np.abs(results[0] - results[1]).max(axis=(0, 1, 2))
    seen = np.flatnonzero(difference > TOLERANCE * np.abs(results[0]).max())
    farthest = int(seen[-1]) // fit.scale if seen.size else 0
    if farthest >= width - 1:
        return {"whole_image": True}
    return {"whole_image": False, "pixels": max(farthest - last, 0)}
