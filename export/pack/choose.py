"""Which pictures go into a reference pack, cut to sizes that the engine's profile takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.calibration.drift.hard_images import gradient, hard_images
from defian_edge.calibration.photos import fitted
from defian_edge.runtime.tiling import DEFAULT_OVERLAP, Tiling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.runtime.profile import ShapeProfile

SMALL = (1, 64, 80)
"""LR batch, height and width of the small pictures, or the nearest that the profile takes. Not square, so that height
and width are not mistaken for each other."""
LONG = (1, 2, 4000)
LEAST = 48
"""LR pixels a side to which photos are cut at most, where the profile takes such; before that, some are left out."""
LARGEST_WHOLE = 4096
LEAST_TILE = 8
"""LR pixels a side of the smallest tiles that are worth a picture."""
FILES_BYTES = 2500
"""More than the headers of three PNG files, their names, hashes and places in the archive take."""
HARD_LICENCE = "made by this project's calibration/drift/hard_images.py, Apache-2.0"


@dataclass(frozen=True)
class Chosen:
    """A picture for the pack: uint8 RGB LR [H, W, 3] and, where there is one, its original [sH, sW, 3].

    ``licence`` says whose it is; ``tiling`` that it goes through the network in tiles. See
    :class:`defian_edge.runtime.verify.pack.ReferencePicture`.
    """

    name: str
    kind: str
    lr: np.ndarray
    original: np.ndarray | None
    licence: str
    tiling: Tiling | None = None

    def whole_bytes(self, scale: int) -> int:
        """More than its PNG files can take: the values themselves, a byte a row, and what deflate and PNG add."""
        height, width = self.lr.shape[:2]
        large = 1 if self.original is None else 2
        values = 3 * height * width * (1 + large * scale**2) + height * (1 + large * scale)
        return int(1.001 * values) + FILES_BYTES


def fixed_pictures(pairs: Sequence[EvaluationPair], profile: ShapeProfile, scale: int) -> list[Chosen]:
    """The small pictures that every pack has: a photo's middle, the hard images, and one photo for tiles."""
    small, long = (profile.nearest(shape)[1:] for shape in (SMALL, LONG))
    first = pairs[0]
    cut = fitted(first, small, small, scale)
    chosen = [Chosen(f"{first.name}, small", "photo", cut.lr, cut.hr, first.licence)]
    hard = {name: image for name, image in hard_images(*small).items() if name != "gradient"}
    chosen += [Chosen(name, "hard", image, None, HARD_LICENCE) for name, image in hard.items()]
    chosen.append(Chosen("gradient", "hard", gradient(*long), None, HARD_LICENCE))
    if min(small) < LEAST_TILE:
        return chosen
    tiling = Tiling(*small, min(DEFAULT_OVERLAP, min(small) // 4))
    larger = (small[0] + small[0] // 2, small[1] + small[1] // 4)
    whole = fitted(first, larger, larger, scale)
    name = f"{first.name}, in tiles of {small[0]}x{small[1]}"
    return [*chosen, Chosen(name, "photo", whole.lr, None, first.licence, tiling)]


def photos_within(
    pairs: Sequence[EvaluationPair], profile: ShapeProfile, scale: int, room: int
) -> tuple[list[Chosen], int]:
    """The photos, whole where they fit into so many bytes, else their middles; and how many had to be left out.

    All are cut to the same largest side. If even ``LEAST`` pixels a side are too many, photos are left out, evenly.
    """
    kept = list(pairs)
    while kept and _bytes(kept, profile, scale, LEAST) > room:
        count = len(kept) - 1
        kept = [pairs[index * len(pairs) // count] for index in range(count)]
    if not kept:
        return [], len(pairs)
    low, high = LEAST, LARGEST_WHOLE
    while low < high:
        middle = (low + high + 1) // 2
        if _bytes(kept, profile, scale, middle) <= room:
            low = middle
        else:
            high = middle - 1
    return [_photo(pair, profile, scale, low) for pair in kept], len(pairs) - len(kept)


def _bytes(pairs: Sequence[EvaluationPair], profile: ShapeProfile, scale: int, side: int) -> int:
    total = 0
    for pair in pairs:
        height, width = _size(pair, profile, side)
        empty = Chosen("", "", np.empty((height, width, 0)), np.empty(0), "")
        total += empty.whole_bytes(scale)
    return total


def _size(pair: EvaluationPair, profile: ShapeProfile, side: int) -> tuple[int, int]:
    height, width = (min(length, side) for length in pair.lr.shape[:2])
    _, height, width = profile.nearest((1, height, width))
    return height, width


def _photo(pair: EvaluationPair, profile: ShapeProfile, scale: int, side: int) -> Chosen:
    size = _size(pair, profile, side)
    cut = fitted(pair, size, size, scale)
    return Chosen(pair.name, "photo", cut.lr, cut.hr, pair.licence)
