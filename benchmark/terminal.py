"""The result as tables to read in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.tables import sheets

if TYPE_CHECKING:
    from benchmark.results import BenchResult
    from benchmark.sheet import Sheet


def show(result: BenchResult, console: Console | None = None) -> None:
    """Print all tables and remarks."""
    to = console or Console()
    for sheet in sheets(result):
        to.print(rich_table(sheet))
    for remark in result.remarks:
        to.print(f"[yellow]note[/yellow] {escape(remark)}")
    for sentence in result.over_budget:
        to.print(f"[red]over budget[/red] {escape(sentence)}")


def rich_table(sheet: Sheet) -> Table:
    """A sheet for the terminal."""
    table = Table(title=escape(sheet.title), title_justify="left")
    for index, name in enumerate(sheet.columns):
        table.add_column(name, justify="right" if index else "left", overflow="fold", no_wrap=not index)
    for row in sheet.rows:
        table.add_row(*(escape(cell) for cell in row))
    return table
