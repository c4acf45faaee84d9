"""Tables on a terminal, by rich: the same words and figures whatever its width."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from defian_edge.runtime.entry import printable

if TYPE_CHECKING:
    from defian_edge.runtime.table import Table

FILE_WIDTH = 132
"""Columns of what is written to a file or a pipe, which have no width of their own."""
FRAME = 3
"""Columns that a table adds to every cell."""


def open_console() -> Console:
    """Standard output: as wide as the terminal, or ``$COLUMNS``, or as a page of a log."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    return console


def show_table(table: Table, console: Console) -> None:
    """A table where the terminal is wide enough, else a paragraph a row: no figure and no name is ever cut."""
    table = replace(table, title=printable(table.title), rows=[tuple(map(printable, row)) for row in table.rows])
    if 1 + sum(FRAME + width for width in table.widths()) <= console.width:
        console.print(rich_table(table))
        return
    console.print(f"[italic]{escape(table.title)}[/italic]", highlight=False)
    for line in table.records(console.width):
        bold = "" if line.startswith(" ") else "bold"
        console.print(line, style=bold, markup=False, highlight=False, soft_wrap=True)


def rich_table(table: Table) -> RichTable:
    """A table for the terminal."""
    shown = RichTable(title=escape(table.title), title_justify="left")
    for column, name in enumerate(table.columns):
        shown.add_column(escape(name), justify="left" if table.is_left(column) else "right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*(escape(cell) for cell in row))
    return shown
