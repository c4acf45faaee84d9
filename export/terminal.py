"""Tables on a terminal, by rich: the same words and figures whatever its width."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from defian_edge.runtime.entry import printable

if TYPE_CHECKING:
    from defian_edge.runtime.sheet import Sheet

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


def show_sheet(sheet: Sheet, console: Console) -> None:
    """A table where the terminal is wide enough, else a paragraph a row: no figure and no name is ever cut."""
    sheet = replace(sheet, title=printable(sheet.title), rows=[tuple(map(printable, row)) for row in sheet.rows])
    if 1 + sum(FRAME + width for width in sheet.widths()) <= console.width:
        console.print(rich_table(sheet))
        return
    console.print(f"[italic]{escape(sheet.title)}[/italic]", highlight=False)
    for line in sheet.records(console.width):
        bold = "" if line.startswith(" ") else "bold"
        console.print(line, style=bold, markup=False, highlight=False, soft_wrap=True)


def rich_table(sheet: Sheet) -> Table:
    """A sheet for the terminal."""
    table = Table(title=escape(sheet.title), title_justify="left")
    for column, name in enumerate(sheet.columns):
        table.add_column(escape(name), justify="left" if sheet.is_left(column) else "right", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*(escape(cell) for cell in row))
    return table
