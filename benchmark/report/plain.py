"""The result as plain text, where rich is not installed: the same tables, figures and words as ``terminal.py``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from defian_edge.benchmark.report.tables import result_tables
from defian_edge.runtime.entry import printable
from defian_edge.runtime.table import terminal_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from defian_edge.benchmark.report.table import Table
    from defian_edge.benchmark.results import BenchResult


class PlainConsole:
    """Standard output."""

    def print(self, text: str, *, soft_wrap: bool = True) -> None:  # noqa: ARG002 - as rich's console has it
        """Print a line, control characters escaped."""
        print(printable(text))


def open_console() -> PlainConsole:
    """Standard output."""
    return PlainConsole()


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Says nothing of what is being done."""
    yield lambda _: None


def show(result: BenchResult, console: PlainConsole | None = None) -> None:
    """Print all tables and remarks."""
    to = console or open_console()
    for table in result_tables(result):
        show_table(table, to)
    for remark in result.remarks:
        to.print(f"note {remark}")
    for sentence in result.over_budget:
        to.print(f"over budget {sentence}")


def show_table(table: Table, console: PlainConsole) -> None:
    """A table: names to the left, figures to the right; records in a terminal that is too narrow for it."""
    console.print(table.title)
    for line in table.lines(terminal_width()):
        console.print(line)
