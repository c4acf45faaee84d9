"""Where tiles lie in an image, and how large they are where nothing is said: docs/runtime.md, "Tiles"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .arguments import shown
from .errors import DefianError

if TYPE_CHECKING:
    from .profile import ShapeProfile

DEFAULT_TILE = 192
DEFAULT_OVERLAP = 16


@dataclass(frozen=True)
class Tiling:
    """Size of a tile and how much neighbours share, all in LR pixels.

    Raises:
        DefianError: a tile is empty, or the overlap exceeds half of it.
    """

    height: int = DEFAULT_TILE
    width: int = DEFAULT_TILE
    overlap: int = DEFAULT_OVERLAP

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 2 or not 0 <= 2 * self.overlap <= min(self.height, self.width):
            raise DefianError(
                f"Expected tiles of at least 2x2 with an overlap from 0 to half a tile, found {self}.",
                "For example --tile 192x192 --overlap 16.",
            )

    @classmethod
    def parse(cls, tile: str, overlap: int, expected: str = "a size such as 192x192") -> Tiling:
        """A tiling from ``192x192``, height and width in LR pixels, as ``--tile`` takes it.

        Raises:
            DefianError: another form, or an overlap of more than half a tile.
        """
        if not re.fullmatch(r"[0-9]{1,5}x[0-9]{1,5}", tile):
            raise DefianError(f"--tile {shown(tile)}: expected {expected}.")
        height, width = map(int, tile.split("x"))
        return cls(height, width, overlap)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}, overlap {self.overlap}"

    def count(self, height: int, width: int) -> int:
        """How many tiles an image takes."""
        return len(starts(height, self.height, self.overlap)) * len(starts(width, self.width, self.overlap))


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along an axis. The last one is shifted inward, so that none is padded."""
    if length <= tile:
        return [0]
    step = tile - overlap
    return [*range(0, length - tile, step), length - tile]


def tiles_that_fit(profile: ShapeProfile | None, overlap: int = DEFAULT_OVERLAP) -> Tiling:
    """The largest tiles that an engine takes, or the default size for a graph.

    Raises:
        DefianError: the engine takes no tile of at least twice the overlap.
    """
    if profile is None:
        return Tiling(overlap=overlap)
    _, height, width = profile.maximum
    return Tiling(height, width, min(overlap, height // 2, width // 2))
