"""What a wrong picture looks like: reference, result and their difference side by side."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from ..images import write_png
from .figures import BLOCK, block_errors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from .checks import Outcome

SIDE = 512
"""HR pixels of each picture at most, around the block that is worst."""
GAP = 8
GREY = 128
MOST_FACTOR = 64


def strip_of(result: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reference, result, and their difference around mid-grey, as bright as fits: uint8 RGB [H, 3 W + 2 gaps, 3]."""
    errors = block_errors(result, reference)
    row, column = np.unravel_index(int(errors.argmax()), errors.shape)
    window = tuple(
        _window(int(block) * BLOCK + BLOCK // 2, side) for block, side in zip((row, column), result.shape, strict=False)
    )
    shown, expected = result[window], reference[window]
    difference = shown.astype(np.int16) - expected
    factor = min(max((GREY - 1) // max(int(np.abs(difference).max()), 1), 1), MOST_FACTOR)
    amplified = np.clip(GREY + factor * difference, 0, 255).astype(np.uint8)
    gap = np.full((shown.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([expected, gap, shown, gap, amplified], axis=1)


def _window(middle: int, side: int) -> slice:
    begin = min(max(middle - SIDE // 2, 0), max(side - SIDE, 0))
    return slice(begin, min(begin + SIDE, side))


def write_strip(outcome: Outcome, artefact: str, folder: Path) -> Path | None:
    """Write the strip of a failed outcome as PNG and return its path; None if it has not failed.

    Raises:
        DefianError: the folder cannot be written.
    """
    if outcome.result is None:
        return None
    words = re.sub(r"[^\w.]+", "-", f"{outcome.picture.name}.{outcome.way}").strip("-")
    path = folder / f"{artefact}.{words}.png"
    write_png(path, strip_of(outcome.result, outcome.picture.reference))
    return path
