"""Pictures that photos lack, drawn by code: edges and lines at full contrast, strokes like print, lights, pure colours.

Activations of a super-resolution network grow with the contrast between neighbouring pixels, which is limited in photos
by lens and sensor. These pictures show how far activations reach on pages, screens, drawings and at night.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from defian_edge.runtime.images import downscale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Paint = Callable[[ImageDraw.ImageDraw, int, Sequence["Colour"], np.random.Generator], None]

SEED = 0
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255))
ANGLES = 24
Colour = tuple[int, int, int]


def drawn_patches(scale: int, height: int, width: int) -> Iterator[np.ndarray]:
    """LR patches, uint8 RGB [height, width, 3], reduced by Pillow's bicubic from what is drawn ``scale`` times larger.

    The same ones each time; what is drawn is square, and they are the upper left of it.
    """
    for _, picture in drawn_pictures(max(height, width) * scale):
        yield downscale(picture, scale)[0][:height, :width]


def drawn_pictures(size: int, seed: int = SEED) -> Iterator[tuple[str, np.ndarray]]:
    """Names and twelve pictures, uint8 RGB [size, size, 3]; another seed draws other strokes, lights and fields."""
    random = np.random.default_rng(seed)
    for ground, ink, name in ((WHITE, BLACK, "on white"), (BLACK, WHITE, "on black")):
        for kind, draw in (("lines", _lines), ("fan", _fan), ("strokes", _strokes), ("spots", _spots)):
            yield f"{kind} {name}", _painted(draw, size, ground, [ink], random)
    yield "coloured lines", _painted(_lines, size, COLOURS[0], COLOURS[1:], random)
    yield "coloured spots", _painted(_spots, size, BLACK, [WHITE, *COLOURS], random)
    yield "fields", _fields(size, random)
    yield "halftone", _halftone(size)


def _painted(
    paint: Paint, size: int, ground: Colour, inks: Sequence[Colour], random: np.random.Generator
) -> np.ndarray:
    picture = Image.new("RGB", (size, size), ground)
    paint(ImageDraw.Draw(picture), size, inks, random)
    return np.asarray(picture)


def _lines(draw: ImageDraw.ImageDraw, size: int, inks: Sequence[Colour], _: np.random.Generator) -> None:
    """Short lines of every angle, 1 to 4 pixels wide."""
    for index in range(ANGLES):
        middle = (np.array([index % 5, index // 5]) + 0.5) * size / 5
        angle = np.pi * index / ANGLES
        reach = np.array([np.cos(angle), np.sin(angle)]) * size / 9
        draw.line([*(middle - reach), *(middle + reach)], fill=inks[index % len(inks)], width=1 + index % 4)


def _fan(draw: ImageDraw.ImageDraw, size: int, inks: Sequence[Colour], _: np.random.Generator) -> None:
    """Lines that meet in a corner, so that there is every distance between them."""
    for index in range(30):
        angle = np.radians(3 * index)
        end = np.array([np.cos(angle), np.sin(angle)]) * 2 * size
        draw.line([0, 0, *end], fill=inks[index % len(inks)], width=1 + index % 3)


def _strokes(draw: ImageDraw.ImageDraw, size: int, inks: Sequence[Colour], random: np.random.Generator) -> None:
    """Rows of strokes and bows, like print from 6 pixels high on."""
    top, height = 2, 6
    while top + height < size:
        left = 2
        while left + height < size:
            box = [left, top, left + 0.6 * height, top + height]
            width = max(1, height // 8)
            if random.random() < 0.5:
                draw.line(
                    [box[0], random.choice(box[1::2]), box[2], random.choice(box[1::2])], fill=inks[0], width=width
                )
                draw.line([box[0], top, box[0], top + height], fill=inks[0], width=width)
            else:
                draw.arc(box, float(random.integers(360)), float(random.integers(360)), fill=inks[0], width=width)
            left += int(0.6 * height) + 3
        top, height = top + int(1.5 * height), height + 4


def _spots(draw: ImageDraw.ImageDraw, size: int, inks: Sequence[Colour], random: np.random.Generator) -> None:
    """Dots of 1 to 13 pixels: lights at night, dust on paper."""
    for index in range(40):
        radius, (x, y) = (0, 1, 2, 3, 6)[index % 5], random.integers(0, size, 2).tolist()
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=inks[index % len(inks)])


def _fields(size: int, random: np.random.Generator) -> np.ndarray:
    """Squares of pure colours, black and white."""
    colours = np.array([*COLOURS, WHITE, BLACK], np.uint8)
    cell = max(1, size // 6)
    chosen = colours[random.integers(len(colours), size=(size // cell + 1,) * 2)]
    return chosen.repeat(cell, axis=0).repeat(cell, axis=1)[:size, :size]


def _halftone(size: int) -> np.ndarray:
    """A printer's dots from white to black, on a grid of 5 pixels turned by 25 degrees."""
    y, x = np.mgrid[:size, :size]
    angle = np.radians(25.0)
    across, along = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    dots = (np.cos(2 * np.pi * across / 5.0) + np.cos(2 * np.pi * along / 5.0)) / 4 + 0.5
    return np.repeat(np.where(dots > x / size, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
