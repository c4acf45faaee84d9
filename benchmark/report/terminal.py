"""The result as tables to read in a terminal."""

from __future__ import annotations

import os
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from defian_edge.benchmark.report.tables import result_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from defian_edge.benchmark.report.table import Table
    from defian_edge.benchmark.results import BenchResult

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


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Shows on standard error what is being done, which it is told."""
    with Console(stderr=True).status("starting") as status:
        yield status.update


def show(result: BenchResult, console: Console | None = None) -> None:
    """Print all tables and remarks."""
    to = console or open_console()
    for table in result_tables(result):
        show_table(table, to)
    for remark in result.remarks:
        to.print(f"[yellow]note[/yellow] {escape(remark)}")
    for sentence in result.over_budget:
        to.print(f"[red]over budget[/red] {escape(sentence)}")


def show_table(table: Table, console: Console) -> None:
    """A table where the terminal is wide enough, else one paragraph a row: no figure is ever broken in two."""
    rows = [table.columns, *table.rows]
    needed = 1 + sum(FRAME + max(len(row[index]) for row in rows) for index in range(len(table.columns)))
    if needed <= console.width:
        console.print(rich_table(table))
        return
    console.print(f"[italic]{escape(table.title)}[/italic]")
    for name, *cells in table.rows:
        console.print(f"[bold]{escape(name)}[/bold]", soft_wrap=True)
        labelled = (f"{label} {cell}" for label, cell in zip(table.columns[1:], cells, strict=True))
        whole = (GAP.join(each.split(" ")) for each in labelled)
        for line in textwrap.wrap("   ".join(whole), console.width - 2, break_long_words=False, break_on_hyphens=False):
            console.print("  " + line.replace(GAP, " "), markup=False, highlight=False, soft_wrap=True)


def rich_table(table: Table) -> RichTable:
    """A table for the terminal."""
    shown = RichTable(title=escape(table.title), title_justify="left")
    for index, name in enumerate(table.columns):
        shown.add_column(name, justify="right" if index else "left", overflow="fold", no_wrap=not index)
    for row in table.rows:
        shown.add_row(*(escape(cell) for cell in row))
    return shown
