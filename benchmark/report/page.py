"""Fills the page and writes it: one file, nothing fetched from anywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from defian_edge.benchmark.report.crops import detail_of
from defian_edge.benchmark.report.plots import plots_of
from defian_edge.benchmark.report.statistics_tables import statistics_tables
from defian_edge.benchmark.report.svg import SERIES
from defian_edge.benchmark.report.tables import result_tables
from defian_edge.benchmark.words import signless_zero
from defian_edge.runtime.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defian_edge.benchmark.report.table import Table
    from defian_edge.benchmark.results import BenchResult

FOLDER = Path(__file__).parent
FILE = "index.html"


def write_page(result: BenchResult, folder: Path, more: Sequence[Table] = ()) -> Path:
    """Write the report of a run.

    Args:
        result: what was measured.
        folder: the page becomes ``index.html`` in it.
        more: tables to add to those of the result.

    Raises:
        DefianError: the folder cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined
    )
    details = [detail_of(each.candidate.name, each.quality) for each in result.measured if each.quality is not None]
    page = environment.get_template("page.html.j2").render(
        result=result,
        tables=[*result_tables(result), *more],
        statistics=statistics_tables(result),
        plots=[
            replace(plot, drawn={name: Markup(svg) for name, svg in plot.drawn.items()})  # noqa: S704 - matplotlib's own
            for plot in plots_of(result.measured, result.shapes)
        ],
        heading=_heading(result),
        details=[detail for detail in details if detail is not None],
        colours={each.candidate.name: index % SERIES for index, each in enumerate(result.measured)},
        definitions=result.definitions(),
        decibels=signless_zero,
        environment=_flat(result.environment),
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),  # noqa: S704 - our own file
    )
    path = folder / FILE
    write_whole(path, page.encode(), "--report")
    return path


def _heading(result: BenchResult) -> str:
    """The model and its scale, which the name of a bundled one ends with."""
    first = result.measured[0].candidate
    scale = f"x{first.scale}"
    return first.model if first.model.endswith(scale) else f"{first.model} {scale}"


def _flat(values: dict[str, object]) -> dict[str, str]:
    """Environment as one line a figure; packages and threads that are absent are left out."""
    lines: dict[str, str] = {}
    for name, value in values.items():
        parts = value.items() if isinstance(value, dict) else ()
        text = ", ".join(f"{key} {each}" for key, each in parts if each is not None) if parts else str(value or "none")
        lines[name.replace("_", " ")] = text
    return lines
