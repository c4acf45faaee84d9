"""Two columns of plots that end at one height, so that the page has no holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

AROUND = 1.8
"""Inches that a plot takes besides its axes: labels, title and the space below, at the width of the wide plots."""
MOST_STRETCHED = 2.5
"""Times its own height that a plot becomes at most."""


@dataclass(frozen=True)
class Sketch:
    """A plot before it is drawn.

    Attributes:
        title: what it shows.
        draw: draws it on axes.
        height: of the axes in inches.
        stretches: whether it may be higher than that, because its height says nothing of the number of its rows.
    """

    title: str
    draw: Callable[[Axes], None]
    height: float
    stretches: bool = False


def in_columns(plots: Sequence[Sketch]) -> list[tuple[int, float]]:
    """Column (0 or 1) and height of every plot, in order.

    The order is kept: the first column holds the first plots. What the shorter column lacks is given to those of its
    plots that stretch, if any does.
    """
    sums = [_taken(plots[:first]) - _taken(plots[first:]) for first in range(len(plots) + 1)]
    first = min(range(len(sums)), key=lambda index: abs(sums[index]))
    shorter = plots[first:] if sums[first] > 0 else plots[:first]
    stretching = [plot for plot in shorter if plot.stretches]
    more = abs(sums[first]) / len(stretching) if stretching and len(plots) > 1 else 0.0
    return [
        (
            int(index >= first),
            min(plot.height + more, MOST_STRETCHED * plot.height) if plot in stretching else plot.height,
        )
        for index, plot in enumerate(plots)
    ]


def _taken(plots: Sequence[Sketch]) -> float:
    return sum(plot.height + AROUND for plot in plots)
