"""Shape profiles: the range of image sizes that an engine accepts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .arguments import shown
from .errors import DefianError

DEFAULT_PROFILE = "1x64x64,1x360x640,1x540x960"
"""What an export is for unless it is told otherwise; the largest is a quarter of 4K at x2."""
FORM = f"minimum,optimum,maximum as NxHxW, for example {DEFAULT_PROFILE}"
Shape = tuple[int, int, int]
"""Batch, height and width of the low-resolution image."""


@dataclass(frozen=True)
class ShapeProfile:
    """Smallest, most frequent and largest (batch, height, width) of the low-resolution image."""

    minimum: Shape
    optimum: Shape
    maximum: Shape

    def __post_init__(self) -> None:
        for name, low, middle, high in zip(
            ("batch", "height", "width"), self.minimum, self.optimum, self.maximum, strict=True
        ):
            if not 1 <= low <= middle <= high:
                raise DefianError(
                    f"Profile {self}: expected 1 <= minimum <= optimum <= maximum, "
                    f"found {name} {low}, {middle}, {high}.",
                    f"Give {FORM}.",
                )
        if self.minimum[1] * self.minimum[2] < 2:
            raise DefianError(f"Profile {self}: an image needs at least two pixels, the variance of one is undefined.")

    @classmethod
    def parse(cls, text: str) -> ShapeProfile:
        """Read ``1x64x64,1x360x640,1x540x960``, or one shape for a static engine.

        Raises:
            DefianError: another form, or a minimum above the maximum.
        """
        parts = text.split(",")
        if len(parts) == 1:
            parts *= 3
        if len(parts) != 3 or not all(
            re.fullmatch(r"[0-9]{1,6}x[0-9]{1,6}x[0-9]{1,6}", part.strip()) for part in parts
        ):
            raise DefianError(f"Profile {shown(text)} has another form than expected.", f"Give {FORM}.")
        sizes = [tuple(int(number) for number in part.strip().split("x")) for part in parts]
        return cls(*((s[0], s[1], s[2]) for s in sizes))

    def __str__(self) -> str:
        return ",".join("x".join(map(str, shape)) for shape in (self.minimum, self.optimum, self.maximum))

    def contains(self, shape: Shape) -> bool:
        """Whether an image of this shape can be run."""
        return all(low <= size <= high for low, size, high in zip(self.minimum, shape, self.maximum, strict=True))

    @property
    def largest_pixels(self) -> int:
        """Pixels of the largest image."""
        return self.maximum[1] * self.maximum[2]

    def nearest(self, shape: Shape) -> Shape:
        """The shape inside the profile that is closest on every axis."""
        batch, height, width = (
            min(max(size, low), high) for low, size, high in zip(self.minimum, shape, self.maximum, strict=True)
        )
        return batch, height, width
