"""Plots as SVG text whose colours are the page's own variables, so that they follow its dark and light themes."""

from __future__ import annotations

import io
import math
import re
import zlib
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from benchmark.results import Measured

INK, MUTED, GRID = "#010203", "#020304", "#030405"
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"}
SERIES = 8
"""Colours of the page; a ninth candidate gets the first one again."""
MOST_IMAGES = 24
MOST_TICKS = 12
WIDTHS = {"wide": 8.6, "narrow": 4.7}
"""Inches; the page shows the one that fits, so that letters keep their size on a telephone."""
FONT_SIZE = 10.5
MEGA = 1e6


def series_colour(index: int) -> str:
    """The placeholder of a candidate's colour."""
    return f"#0a0b{16 + index % SERIES:02x}"


def plots_of(measured: Sequence[Measured], shapes: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Every plot that the figures allow: its title, and its SVG at each of :data:`WIDTHS`."""
    plots: list[tuple[str, Callable[[Axes], None], float]] = []
    colours = {each.candidate.name: series_colour(index) for index, each in enumerate(measured)}
    timed = [each for each in measured if each.latencies]
    judged = [each for each in measured if each.quality is not None]
    for index, shape in enumerate(shapes if timed else ()):
        draw = _partial(_latency, timed, colours, index)
        plots.append((f"Latency at {shape}: every round, median and quartiles", draw, 0.5 * len(timed)))
    if judged:
        rows = min(len(judged[0].quality.report.images), MOST_IMAGES) if judged[0].quality else 0
        plots.append(("Drift of every image, the largest loss first", _partial(_drift, judged, colours), 0.36 * rows))
        plots.append(("Differences from the reference", _partial(_differences, judged, colours), 2.4))
    plots.append(("Memory", _partial(_memory, measured, colours), 0.65 * len(measured)))
    both = [each for each in timed if each.quality is not None]
    if len(both) > 1:
        plots.append(("Speed against drift", _partial(_scatter, both, colours), 2.2))
    return [
        (title, {name: _svg(draw, width, height) for name, width in WIDTHS.items()}) for title, draw, height in plots
    ]


def _partial(draw: Callable[..., None], *arguments: object) -> Callable[[Axes], None]:
    return lambda axes: draw(axes, *arguments)


def _svg(draw: Callable[[Axes], None], width: float, height: float) -> str:
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "defian", "font.size": FONT_SIZE}):
        figure = Figure(figsize=(width, height + 0.9), layout="constrained")
        axes = figure.add_subplot()
        axes.set_facecolor("none")
        for name in ("top", "right", "left"):
            axes.spines[name].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.tick_params(colors=MUTED, labelcolor=INK, length=0)
        axes.grid(visible=True, axis="x", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        draw(axes)
        axes.xaxis.label.set_color(MUTED)
        axes.yaxis.label.set_color(MUTED)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_the_page(buffer.getvalue(), f"p{zlib.crc32(buffer.getvalue().encode())}")


def _for_the_page(svg: str, prefix: str) -> str:
    """Inline SVG: no prologue, ids of its own, the page's colours and typeface."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r"font: ([^;]*?)px [^;]*;", r"font: \1px var(--sans);", svg)
    variables = _VARIABLES | {series_colour(index): f"--series-{index}" for index in range(SERIES)}
    for placeholder, variable in variables.items():
        svg = svg.replace(placeholder, f"var({variable})")
    return svg


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """One row per candidate, its name above its marks, the first on top."""
    for row, name in enumerate(names):
        axes.annotate(name, (0, row - 0.3), xycoords=("axes fraction", "data"), color=INK, va="bottom", ha="left")
    axes.set_yticks([])
    axes.set_ylim(len(names) - 0.6, -0.95)


def _latency(axes: Axes, timed: Sequence[Measured], colours: dict[str, str], index: int) -> None:
    random = np.random.default_rng(0)
    for row, each in enumerate(timed):
        milliseconds = 1e3 * np.asarray(each.latencies[index].seconds)
        colour = colours[each.candidate.name]
        scattered = row + random.uniform(-0.14, 0.14, len(milliseconds))
        axes.scatter(milliseconds, scattered, s=12, color=colour, alpha=0.55, linewidths=0)
        low, middle, high = np.percentile(milliseconds, [25, 50, 75])
        axes.plot([low, high], [row, row], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot([middle, middle], [row - 0.22, row + 0.22], color=INK, linewidth=2)
    _rows(axes, [each.candidate.name for each in timed])
    axes.set_xlim(left=0)
    axes.set_xlabel("ms, uint8 to uint8")


def _drift(axes: Axes, judged: Sequence[Measured], colours: dict[str, str]) -> None:
    reports = {each.candidate.name: each.quality.report for each in judged if each.quality is not None}
    drifts = {name: {image.name: image.drift for image in report.images} for name, report in reports.items()}
    images = sorted(next(iter(drifts.values())), key=lambda image: -max(each[image] for each in drifts.values()))
    shown = images[:MOST_IMAGES]
    for index, (name, of_image) in enumerate(drifts.items()):
        rows = np.arange(len(shown)) + 0.5 * ((index + 0.5) / len(drifts) - 0.5)  # so that equal drifts do not hide
        axes.scatter([of_image[image] for image in shown], rows, s=30, color=colours[name], linewidths=0)
    axes.axvline(0.0, color=MUTED, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(5 if _inches(axes)[0] < WIDTHS["wide"] else 8))
    axes.set_yticks(range(len(shown)), shown)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    more = "" if len(shown) == len(images) else f", the worst {len(shown)} of {len(images)} images"
    axes.set_xlabel(f"dB PSNR-Y lost against the reference{more}")


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


def _memory(axes: Axes, measured: Sequence[Measured], colours: dict[str, str]) -> None:
    for row, each in enumerate(measured):
        colour = colours[each.candidate.name]
        host = None if each.memory is None or each.memory.host is None else each.memory.host.peak
        device = None if each.memory is None or each.memory.device is None else each.memory.device.peak
        sizes = {"host, peak": host, "device, peak": device, "device, planned": each.activation_bytes}
        known = [(words, size) for words, size in sizes.items() if size is not None]
        for index, (words, size) in enumerate(known):
            place = row - 0.08 + 0.24 * index
            axes.barh(place, size / MEGA, height=0.18, color=colour)
            text, end = f"{size / MEGA:.0f} MB {words}", (size / MEGA, place)
            axes.annotate(text, end, xytext=(5, 0), textcoords="offset points", color=MUTED, va="center", ha="left")
    _rows(axes, [each.candidate.name for each in measured])
    axes.margins(x=0.45)
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
    for name, offset in _name_places(axes, points).items():
        axes.annotate(
            name, points[name], xytext=offset, textcoords="offset points", color=colours[name], ha="center", va="bottom"
        )
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    axes.set_xlabel("median latency, ms")
    axes.set_ylabel("worst drift, dB")


def _inches(axes: Axes) -> np.ndarray:
    """Width and height of the whole figure."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("axes of no figure")
    return figure.get_size_inches()


def _name_places(axes: Axes, points: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Where each name stands, in points from its mark: above it, inside of the plot, and never on another name."""
    size = 72 * _inches(axes) - np.asarray([2.0, 4.5]) * FONT_SIZE * 2  # less what the axes take
    low, high = np.asarray([axes.get_xlim(), axes.get_ylim()], np.float64).T
    taken: list[tuple[float, float, float]] = []
    places: dict[str, tuple[float, float]] = {}
    for name, point in sorted(points.items(), key=lambda item: item[1]):
        x, y = (np.asarray(point) - low) / (high - low) * size
        half = 0.31 * FONT_SIZE * len(name)
        middle = float(np.clip(x, half, max(size[0] - half, half)))
        bottom = y + 8.0
        while any(abs(middle - m) < half + h + 4 and abs(bottom - b) < 1.35 * FONT_SIZE for m, b, h in taken):
            bottom += 1.35 * FONT_SIZE
        taken.append((middle, bottom, half))
        places[name] = (middle - float(x), float(bottom - y))
    return places
