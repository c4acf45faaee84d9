"""Axes as SVG text whose colours are the page's own variables, so that they follow its dark and light themes."""

from __future__ import annotations

import io
import re
import zlib
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#010203", "#020304", "#030405"
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"}
SERIES = 8
"""Colours of the page; a ninth candidate gets the first one again."""
WIDTHS = {"wide": 8.6, "narrow": 4.7}
"""Inches; the page shows the one that fits, so that letters keep their size on a telephone."""
FONT_SIZE = 10.5
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "defian",
    "font.size": FONT_SIZE,
    "text.parse_math": False,  # a file may be called $a$.png
    "axes.formatter.useoffset": False,  # "+3.71e1" above an axis is read by nobody
    "hatch.linewidth": 1.5,
}


def series_colour(index: int) -> str:
    """The placeholder of a candidate's colour."""
    return f"#0a0b{16 + index % SERIES:02x}"


def svg_of(draw: Callable[[Axes], None], width: float, height: float) -> str:
    """Draw on axes of this size in inches, the labels' height not counted, and return the SVG for the page."""
    import matplotlib as mpl

    with mpl.rc_context(SETTINGS):  # pyright: ignore[reportArgumentType] - its keys are a literal type of hundreds
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


def inches(axes: Axes) -> np.ndarray:
    """Width and height of the whole figure."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("axes of no figure")
    return figure.get_size_inches()


def is_narrow(axes: Axes) -> bool:
    """Whether it is the plot for a telephone."""
    return bool(inches(axes)[0] < WIDTHS["wide"])
