"""What is plotted: latency, drift, differences, memory, and speed against drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from defian_edge.benchmark.report.columns import Sketch, in_columns
from defian_edge.benchmark.report.names import name_places, shortened
from defian_edge.benchmark.report.svg import GRID, INK, MUTED, WIDTHS, is_narrow, series_colour, svg_of
from defian_edge.benchmark.report.tables import PLANNED
from defian_edge.benchmark.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from defian_edge.benchmark.results import Measured

MOST_IMAGES = 24
MOST_TICKS = 12
MEGA = 1e6
FAR = 3.0
"""Quartile ranges beyond the third quartile from which a sample is no part of the picture."""
LEAST_SPAN = 1e-3
"""dB on each side of zero: less is rounding, and must not fill a plot."""


@dataclass(frozen=True)
class Plot:
    """One plot of the page: its title, its SVG at each of :data:`WIDTHS`, and the page's column that it stands in."""

    title: str
    drawn: dict[str, str]
    column: int


def plots_of(measured: Sequence[Measured], shapes: Sequence[str]) -> list[Plot]:
    """Every plot that the figures allow, in two columns of one height."""
    sketches = _sketches(measured, shapes)
    return [
        Plot(
            each.title,
            {
                name: svg_of(each.draw, width, height if name == "wide" else each.height)
                for name, width in WIDTHS.items()
            },
            column,
        )
        for each, (column, height) in zip(sketches, in_columns(sketches), strict=True)
    ]


def _sketches(measured: Sequence[Measured], shapes: Sequence[str]) -> list[Sketch]:
    plots: list[Sketch] = []
    colours = {each.candidate.name: series_colour(index) for index, each in enumerate(measured)}
    timed = [each for each in measured if each.latencies]
    judged = [each for each in measured if each.quality is not None]
    for index, shape in enumerate(shapes if timed else ()):
        draw = _partial(_latency, timed, colours, index)
        plots.append(Sketch(f"Latency at {shape}: every round, median and quartiles", draw, 0.5 * len(timed)))
    if judged:
        rows = min(len(judged[0].quality.report.images), MOST_IMAGES) if judged[0].quality else 0
        plots += [
            Sketch("Drift of every image, the largest loss first", _partial(_drift, judged, colours), 0.36 * rows),
            Sketch("Differences from the reference", _partial(_differences, judged, colours), 2.4, stretches=True),
        ]
    sized = [each for each in measured if _sizes(each)]
    if sized:
        height = 0.4 * len(sized) + 0.25 * sum(len(_sizes(each)) for each in sized)
        plots.append(Sketch("Memory", _partial(_memory, sized, colours), height))
    both = [each for each in timed if each.quality is not None]
    if len(both) > 1:
        title = f"Speed at {shapes[0]} against drift"
        plots.append(Sketch(title, _partial(_scatter, both, colours), 2.2, stretches=True))
    return plots


def _partial(draw: Callable[..., None], *arguments: object) -> Callable[[Axes], None]:
    return lambda axes: draw(axes, *arguments)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """One row per candidate, its name above its marks, the first on top."""
    for row, name in enumerate(names):
        words = shortened(name, "row", axes)
        axes.annotate(words, (0, row - 0.3), xycoords=("axes fraction", "data"), color=INK, va="bottom", ha="left")
    axes.set_yticks([])
    axes.set_ylim(len(names) - 0.6, -0.95)


def _latency(axes: Axes, timed: Sequence[Measured], colours: dict[str, str], index: int) -> None:
    random = np.random.default_rng(0)
    limit, beyond = visible_range([1e3 * np.asarray(each.latencies[index].seconds) for each in timed])
    for row, each in enumerate(timed):
        milliseconds = 1e3 * np.asarray(each.latencies[index].seconds)
        colour = colours[each.candidate.name]
        scattered = row + random.uniform(-0.14, 0.14, len(milliseconds))
        axes.scatter(milliseconds, scattered, s=12, color=colour, alpha=0.55, linewidths=0)
        low, middle, high = np.percentile(milliseconds, [25, 50, 75])
        axes.plot([low, high], [row, row], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot([middle, middle], [row - 0.22, row + 0.22], color=INK, linewidth=2)
    _rows(axes, [each.candidate.name for each in timed])
    axes.set_xlim(0, limit)
    outside = f"; {counted(beyond, 'sample')} beyond the right edge" if beyond else ""
    axes.set_xlabel(f"ms, uint8 to uint8{outside}")


def visible_range(samples: Sequence[np.ndarray]) -> tuple[float, int]:
    """Where the axis ends, and how many samples lie beyond: one stalled run must not squeeze the others together."""
    quartiles = [np.percentile(each, [25, 75]) for each in samples]
    fence = max(float(high + FAR * (high - low)) for low, high in quartiles)
    largest = max(float(each.max()) for each in samples)
    if largest <= 1.1 * fence:
        return 1.04 * largest, 0
    within = max(float(each[each <= fence].max(initial=0.0)) for each in samples)
    return 1.04 * within, sum(int((each > fence).sum()) for each in samples)


def _drift(axes: Axes, judged: Sequence[Measured], colours: dict[str, str]) -> None:
    reports = {each.candidate.name: each.quality.report.images for each in judged if each.quality is not None}
    # By index, not by name: two folders may hold photos of one name.
    drifts = np.asarray([[image.drift for image in images] for images in reports.values()])
    names = [image.name for image in next(iter(reports.values()))]
    shown = np.argsort(-drifts.max(axis=0), kind="stable")[:MOST_IMAGES]
    for index, name in enumerate(reports):
        rows = np.arange(len(shown)) + 0.5 * ((index + 0.5) / len(reports) - 0.5)  # so that equal drifts do not hide
        axes.scatter(drifts[index, shown], rows, s=30, color=colours[name], linewidths=0)
    axes.axvline(0.0, color=MUTED, linewidth=1)
    axes.set_xlim(*at_least(axes.get_xlim()))
    axes.xaxis.set_major_locator(MaxNLocator(4 if is_narrow(axes) else 6, steps=[1, 2, 5, 10]))
    axes.set_yticks(range(len(shown)), [shortened(names[image], "tick", axes) for image in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    more = "" if len(shown) == len(names) else f", the worst {len(shown)} of {len(names)} images"
    axes.set_xlabel(f"dB PSNR-Y lost{more}" if is_narrow(axes) else f"dB PSNR-Y lost against the reference{more}")


def at_least(limits: tuple[float, float]) -> tuple[float, float]:
    """Limits of an axis of drift, widened until they hold 0.001 dB on both sides of zero."""
    return min(limits[0], -LEAST_SPAN), max(limits[1], LEAST_SPAN)


def _differences(axes: Axes, judged: Sequence[Measured], colours: dict[str, str]) -> None:
    most = max(len(each.quality.differences) for each in judged if each.quality is not None)
    width = 0.8 / len(judged)
    for index, each in enumerate(judged):
        if each.quality is None:
            continue
        counts = np.asarray(each.quality.differences)
        shares = 100.0 * counts / counts.sum()
        places = np.arange(len(counts)) + (index + 0.5) * width - 0.4
        axes.bar(places, shares, width=0.9 * width, color=colours[each.candidate.name])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(MaxNLocator(min(most, MOST_TICKS), integer=True))
    axes.xaxis.grid(visible=False)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    axes.set_xlabel("difference of a uint8 value from the reference's")
    axes.set_ylabel("% of all values")


def _sizes(measured: Measured) -> dict[str, int]:
    """What is known of a candidate's memory, bytes, in words."""
    host = None if measured.memory is None or measured.memory.host is None else measured.memory.host.peak
    device = None if measured.memory is None or measured.memory.device is None else measured.memory.device.peak
    sizes = {"host, peak": host, "device, peak": device, PLANNED: measured.activation_bytes}
    return {words: size for words, size in sizes.items() if size is not None}


def _memory(axes: Axes, sized: Sequence[Measured], colours: dict[str, str]) -> None:
    """One bar a figure, the bars of a candidate below its name; what was not measured is hatched."""
    place = 0.0
    for each in sized:
        name = shortened(each.candidate.name, "row", axes)
        axes.annotate(name, (0, place), xycoords=("axes fraction", "data"), color=INK, va="center", ha="left")
        for words, size in _sizes(each).items():
            place += 0.75
            colour = colours[each.candidate.name]
            if words == PLANNED:
                axes.barh(place, size / MEGA, height=0.5, facecolor="none", edgecolor=colour, hatch="////")
            else:
                axes.barh(place, size / MEGA, height=0.5, color=colour)
            text, end = f"{size / MEGA:.0f} MB {words}", (size / MEGA, place)
            axes.annotate(text, end, xytext=(5, 0), textcoords="offset points", color=MUTED, va="center", ha="left")
        place += 1.15
    axes.set_yticks([])
    axes.set_ylim(place - 0.65, -0.5)
    axes.margins(x=0.75 if is_narrow(axes) else 0.45)
    axes.set_xlim(left=0)
    axes.set_xlabel("MB")


def _scatter(axes: Axes, both: Sequence[Measured], colours: dict[str, str]) -> None:
    points = {
        each.candidate.name: (1e3 * each.latencies[0].summary.median, each.quality.report.worst.drift)
        for each in both
        if each.quality is not None and math.isfinite(each.quality.report.worst.drift)
    }
    if not points:
        return
    for name, point in points.items():
        axes.scatter(*point, s=80, color=colours[name])
    axes.margins(x=0.3, y=0.45)
    axes.autoscale_view()
    axes.set_xlim(left=0)
    axes.set_ylim(*at_least(axes.get_ylim()))
    short = {name: shortened(name, "point", axes) for name in points}
    for name, offset in name_places(axes, points, short).items():
        axes.annotate(
            short[name],
            points[name],
            xytext=offset,
            textcoords="offset points",
            color=colours[name],
            ha="center",
            va="bottom",
        )
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    axes.set_xlabel("median latency, ms")
    axes.set_ylabel("worst drift, dB")
