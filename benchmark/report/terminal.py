"""The result as tables to read in a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from defian_edge.benchmark.report.tables import result_tables
from defian_edge.export.terminal import open_console, show_table
from defian_edge.runtime.entry import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from defian_edge.benchmark.results import BenchResult

__all__ = ["open_console", "progress", "show", "show_table"]


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Shows on standard error what is being done, which it is told."""
    with Console(stderr=True).status("starting") as status:
        yield lambda text: status.update(escape(printable(text)))


def show(result: BenchResult, console: Console | None = None) -> None:
    """Print all tables and remarks."""
    to = console or open_console()
    for table in result_tables(result):
        show_table(table, to)
    for remark in result.remarks:
        to.print(f"[yellow]note[/yellow] {escape(printable(remark))}", soft_wrap=True)
    for sentence in result.over_budget:
        to.print(f"[red]over budget[/red] {escape(printable(sentence))}", soft_wrap=True)
