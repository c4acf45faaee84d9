"""The result as tables to read in a terminal."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from defian_edge.benchmark.tables import sheets

if TYPE_CHECKING:
    from defian_edge.benchmark.results import BenchResult
    from defian_edge.benchmark.sheet import Sheet

FILE_WIDTH = 132
"""Columns of what is written to a file or a pipe, which have no width of their own."""
FRAME = 3
"""Columns that a table adds to every cell."""


GAP = "\N{NO-BREAK SPACE}"


def open_console() -> Console:
    """Standard output: as wide as the terminal, or ``$COLUMNS``, or as a page of a log."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    return console


def show(result: BenchResult, console: Console | None = None) -> None:
    """Print all tables and remarks."""
    to = console or open_console()
    for sheet in sheets(result):
        show_sheet(sheet, to)
    for remark in result.remarks:
        to.print(f"[yellow]note[/yellow] {escape(remark)}")
    for sentence in result.over_budget:
        to.print(f"[red]over budget[/red] {escape(sentence)}")


def show_sheet(sheet: Sheet, console: Console) -> None:
    """A table where the terminal is wide enough, else one paragraph a row: no figure is ever broken in two."""
    rows = [sheet.columns, *sheet.rows]
    needed = 1 + sum(FRAME + max(len(row[index]) for row in rows) for index in range(len(sheet.columns)))
    if needed <= console.width:
        console.print(rich_table(sheet))
        return
    console.print(f"[italic]{escape(sheet.title)}[/italic]")
    for name, *cells in sheet.rows:
        console.print(f"[bold]{escape(name)}[/bold]", soft_wrap=True)
        labelled = (f"{label} {cell}" for label, cell in zip(sheet.columns[1:], cells, strict=True))
        whole = (GAP.join(each.split(" ")) for each in labelled)
        for line in textwrap.wrap("   ".join(whole), console.width - 2, break_long_words=False, break_on_hyphens=False):
            console.print("  " + line.replace(GAP, " "), markup=False, highlight=False, soft_wrap=True)


def rich_table(sheet: Sheet) -> Table:
    """A sheet for the terminal."""
    table = Table(title=escape(sheet.title), title_justify="left")
    for index, name in enumerate(sheet.columns):
        table.add_column(name, justify="right" if index else "left", overflow="fold", no_wrap=not index)
    for row in sheet.rows:
        table.add_row(*(escape(cell) for cell in row))
    return table
