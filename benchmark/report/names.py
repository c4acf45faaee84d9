"""Names in plots: shortened where they are long, and placed so that none stands on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.benchmark.report.svg import FONT_SIZE, inches, is_narrow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LETTERS = {"row": (44, 84), "tick": (18, 36), "point": (30, 48)}
"""Letters of a name above its row, beside an axis and at a point, in the narrow and in the wide plot."""


def shortened(name: str, place: str, axes: Axes) -> str:
    """The name, its middle left out where it is longer than its place takes: both ends tell files apart."""
    narrow, wide = MOST_LETTERS[place]
    most = narrow if is_narrow(axes) else wide
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}\N{HORIZONTAL ELLIPSIS}{name[-end:]}"


def name_places(
    axes: Axes, points: dict[str, tuple[float, float]], short: dict[str, str]
) -> dict[str, tuple[float, float]]:
    """Where each name stands, in points from its mark: above it, inside of the plot, and never on another name."""
    size = 72 * inches(axes) - np.asarray([2.0, 4.5]) * FONT_SIZE * 2  # less what the axes take
    low, high = np.asarray([axes.get_xlim(), axes.get_ylim()], np.float64).T
    taken: list[tuple[float, float, float]] = []
    places: dict[str, tuple[float, float]] = {}
    for name, point in sorted(points.items(), key=lambda item: item[1]):
        x, y = (np.asarray(point) - low) / (high - low) * size
        half = 0.31 * FONT_SIZE * len(short[name])
        middle = float(np.clip(x, half, max(size[0] - half, half)))
        bottom = y + 8.0
        while any(abs(middle - m) < half + h + 4 and abs(bottom - b) < 1.35 * FONT_SIZE for m, b, h in taken):
            bottom += 1.35 * FONT_SIZE
        taken.append((middle, bottom, half))
        places[name] = (middle - float(x), float(bottom - y))
    return places
