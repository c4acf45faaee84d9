"""Which sizes a network takes, and how many times larger its pictures are: found by running it on small ones."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from defian_edge.export.source.base import Sizes

    Run = Callable[[np.ndarray], np.ndarray]
    """A network as it was given: float32 [N, C, H, W] -> [N, C, sH, sW]; raises what it will where it cannot."""

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
SMALL = 17
"""LR pixels a side from which sizes are tried; below, many networks cannot pad by reflection."""
SIDES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
LARGEST_SCALE = 16
LETTERS = 200


@dataclass(frozen=True)
class Fit:
    """How an image is made to fit a network: mirrored at its lower and right end, the result cropped.

    Attributes:
        scale: how many times larger the result is.
        multiple: that height and width must be of.
        least: LR pixels a side that the network needs; a multiple.
    """

    scale: int
    multiple: int = 1
    least: int = 1

    @property
    def is_needed(self) -> bool:
        """Whether some sizes have to be padded."""
        return self.multiple > 1 or self.least > 1

    def demanding(self, multiple: int, least: int = 1) -> Fit:
        """The same for a network that demands these as well."""
        both = lcm(self.multiple, multiple)
        fewest = max(self.least, least)
        return Fit(self.scale, both, -(-fewest // both) * both if fewest > 1 else 1)

    def padded(self, side: int) -> int:
        """The side that the network sees."""
        return max(-(-side // self.multiple) * self.multiple, self.least)

    def pad(self, values: np.ndarray) -> np.ndarray:
        """Values [N, C, H, W] mirrored at the lower and right end, without repeating the edge, as often as need be."""
        height, width = values.shape[2:]
        rows, columns = (mirrored(side, self.padded(side)) for side in (height, width))
        return values[:, :, rows][:, :, :, columns] if self.is_needed else values

    def crop(self, values: np.ndarray, height: int, width: int) -> np.ndarray:
        """The result [N, C, sH, sW] of an image of that height and width."""
        return values[:, :, : self.scale * height, : self.scale * width]

    def __str__(self) -> str:
        padding = [
            *([f"multiples of {self.multiple}"] if self.multiple > 1 else []),
            *([f"{self.least} pixels at least"] if self.least > self.multiple else []),
        ]
        return " and ".join(padding)


def mirrored(side: int, padded: int) -> np.ndarray:
    """Which of ``side`` pixels stands at each of ``padded`` places: 0 1 2 3 2 1 0 1 ... for 4."""
    period = max(2 * (side - 1), 1)
    place = np.arange(padded) % period
    return np.minimum(place, period - place) if side > 1 else np.zeros(padded, np.int64)


def find_fit(run: Run, channels: int, sizes: Sizes) -> Fit:
    """Run the network on small pictures that are not square, and find its scale and what it demands of sizes.

    Raises:
        DefianError: it runs at no size that was tried, or what it gives is no integer multiple of what it takes.
    """
    if sizes.height is not None and sizes.width is not None:
        scale, reason = _scale_at(run, channels, [(sizes.height, sizes.width)])
        if scale is None:
            raise _refusal(reason)
        return Fit(scale)
    first = ""
    for multiple in MULTIPLES:
        tried = [_fixed(size, sizes) for size in sample_sides(multiple)]
        scale, reason = _scale_at(run, channels, tried)
        first = first or reason
        if scale is not None:
            return Fit(scale, multiple, _least(run, channels, scale, multiple, sizes))
    raise _refusal(first)


def sample_sides(multiple: int) -> list[tuple[int, int]]:
    """Two sizes whose sides are odd multiples, all different: one higher than wide, the other wider than high."""
    odd = -(-SMALL // multiple)
    odd += 1 - odd % 2
    short, middle, long = (multiple * (odd + step) for step in (0, 2, 6))
    return [(short, long), (middle, short)]


def _fixed(size: tuple[int, int], sizes: Sizes) -> tuple[int, int]:
    return sizes.height or size[0], sizes.width or size[1]


def _scale_at(run: Run, channels: int, tried: Iterable[tuple[int, int]]) -> tuple[int | None, str]:
    """The one scale at all sizes; or None, and why not."""
    scales = set()
    for height, width in tried:
        scale, reason = _scale(run, np.zeros((1, channels, height, width), np.float32))
        if scale is None:
            return None, reason
        scales.add(scale)
    if len(scales) != 1:
        return None, f"it enlarges by {' and by '.join(map(str, sorted(scales)))}, as the size is"
    return scales.pop(), ""


def _scale(run: Run, image: np.ndarray) -> tuple[int | None, str]:
    shape = list(image.shape)
    try:
        result = run(image)
    except DefianError:
        raise
    except Exception as error:
        return None, f"it does not run at {shape}: {one_line(error)}"
    found = list(result.shape)
    if result.ndim != 4:
        kind = ", as a classifier" if result.ndim == 2 else ""
        raise DefianError(
            f"Expected a super-resolution network that gives [N, C, sH, sW], found one that gives {found} from {shape}"
            f"{kind}.",
            "Leave out what stands behind the picture.",
        )
    if found[:2] != shape[:2]:
        return None, f"it gives {found} from {shape}, and not as many images and channels as it takes"
    scale = found[2] // shape[2]
    if scale < 1 or scale > LARGEST_SCALE or found[2:] != [scale * shape[2], scale * shape[3]]:
        return None, f"it gives {found} from {shape}, which is no integer multiple from 1 to {LARGEST_SCALE}"
    return scale, ""


def _least(run: Run, channels: int, scale: int, multiple: int, sizes: Sizes) -> int:
    """The fewest pixels a side, of those that are tried, at which the network runs."""
    sides = [multiple * each for each in SIDES] if multiple > 1 else list(SIDES)
    large = sample_sides(multiple)[1][0]
    for side in [*([multiple] if multiple > 1 else [1]), *(each for each in sides if each < large)]:
        tried = [_fixed((side, large), sizes), _fixed((large, side), sizes)]
        if _scale_at(run, channels, tried)[0] == scale:
            return side
    return large


def _refusal(reason: str) -> DefianError:
    tried = f"{MULTIPLES[0]} to {MULTIPLES[-1]}"
    return DefianError(
        f"Expected a super-resolution network; {reason}.",
        f"A network takes one picture [N, C, H, W] of sizes that are multiples of {tried}, and gives it enlarged.",
    )


def one_line(error: BaseException) -> str:
    """The first line of what an error says, shortened."""
    lines: Iterator[str] = (line.strip() for line in str(error).splitlines())
    line = next((line for line in lines if line), "") or type(error).__name__
    return line if len(line) <= LETTERS else f"{line[:LETTERS]}..."
