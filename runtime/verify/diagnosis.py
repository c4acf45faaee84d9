"""What kind of fault a wrong picture shows: a name for it, so that the reader knows where to look."""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from ..guard import suspicious_place
from .figures import block_errors, psnr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BETTER = 6.0
"""An explanation must bring the picture nearer to the reference by so many dB: halve the error, at least."""
FINE = 8
"""Side in HR pixels of the blocks by which a fault is located."""
LOCAL_SHARE = 0.9
"""Of the squared error, in a quarter of the blocks at most, for a fault to be one of a place."""
LOCAL_BLOCKS = 0.25
CHANNELS = ("red", "green", "blue")
SHIFTS = [each for each in product(range(-2, 3), repeat=2) if each != (0, 0)]


def diagnosis(
    result: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    lr: NDArray[np.uint8],
    earlier: NDArray[np.uint8] | None = None,
) -> str:
    """A sentence on how a result differs from the reference.

    Args:
        result: uint8 RGB [sH, sW, 3].
        reference: what it should be.
        lr: what went in, uint8 RGB [H, W, 3].
        earlier: what the session gave for another picture of this size, if there was one.
    """
    place = suspicious_place(lr, result)
    if place is not None and suspicious_place(lr, reference) is None:
        return f"NaN or infinity in the network, as it seems: {place} where the input is not"
    if earlier is not None and np.array_equal(result, earlier):
        return "stale: the result of another picture, which was computed before"
    now = psnr(result, reference)
    found = [(psnr(mended, expected), words) for words, mended, expected in _explanations(result, reference)]
    best, words = max(found, key=lambda each: each[0])
    if best > now + BETTER:
        return words
    return _local(result, reference) or f"noise of {now:.1f} dB all over the picture"


def _explanations(
    result: NDArray[np.uint8], reference: NDArray[np.uint8]
) -> Iterator[tuple[str, NDArray[Any], NDArray[np.uint8]]]:
    """Words, the result as it would be without the fault, and what it is then to be compared with."""
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            names = ", ".join(CHANNELS[channel] for channel in order)
            yield f"channels swapped: red, green, blue are in the places of {names}", result[..., order], reference
    for down, right in SHIFTS:
        rows, columns = (_overlap(shift, side) for shift, side in zip((down, right), result.shape, strict=False))
        moved = result[rows[0], columns[0]], reference[rows[1], columns[1]]
        yield f"shifted by {right} pixels to the right and {down} down", *moved
    for channel, name in enumerate(CHANNELS):
        factor = _factor(result[..., channel], reference[..., channel])
        if abs(factor - 1) > 2e-3:
            mended = result.astype(np.float64)
            mended[..., channel] = np.clip(np.rint(mended[..., channel] / factor), 0, 255)
            yield f"{name} scaled by {factor:.3f}", mended, reference
    offset = float(np.median(result.astype(np.int16) - reference))
    if offset:
        yield f"brighter by {offset:g} grey levels all over", result.astype(np.float64) - offset, reference


def _overlap(shift: int, side: int) -> tuple[slice, slice]:
    """Where a shifted result and the reference show the same: slices of both."""
    return slice(max(shift, 0), side + min(shift, 0)), slice(max(-shift, 0), side - max(shift, 0))


def _factor(result: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """By which factor a channel is too bright, where neither is clipped."""
    inside = (result > 0) & (result < 255) & (reference > 0)
    if not inside.any():
        return 1.0
    return float(result[inside].astype(np.float64).sum() / reference[inside].astype(np.float64).sum())


def _local(result: NDArray[np.uint8], reference: NDArray[np.uint8]) -> str:
    """Where the error is, if it is in few blocks; else nothing."""
    errors = block_errors(result, reference, FINE)
    most = np.sort(errors, axis=None)[::-1]
    few = int(errors.size * LOCAL_BLOCKS)
    if few < 1 or most[:few].sum() < LOCAL_SHARE * most.sum():
        return ""
    wrong = np.argwhere(errors > most[0] / 100)
    (top, left), (bottom, right) = wrong.min(axis=0) * FINE, (wrong.max(axis=0) + 1) * FINE
    bottom, right = min(bottom, result.shape[0]), min(right, result.shape[1])
    return f"wrong in one place: {right - left}x{bottom - top} pixels from {left},{top} on"
