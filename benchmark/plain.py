"""The result as plain text, where rich is not installed: the same tables, figures and words as ``terminal.py``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from defian_edge.benchmark.tables import sheets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from defian_edge.benchmark.results import BenchResult
    from defian_edge.benchmark.sheet import Sheet


class PlainConsole:
    """Standard output."""

    def print(self, text: str, *, soft_wrap: bool = True) -> None:  # noqa: ARG002 - as rich's console has it
        """Print a line as it is."""
        print(text)


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
    for sheet in sheets(result):
        show_sheet(sheet, to)
    for remark in result.remarks:
        to.print(f"note {remark}")
    for sentence in result.over_budget:
        to.print(f"over budget {sentence}")


def show_sheet(sheet: Sheet, console: PlainConsole) -> None:
    """A table: names to the left, figures to the right."""
    rows = [sheet.columns, *sheet.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(sheet.columns))]
    console.print(sheet.title)
    for row in rows:
        name, *figures = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        console.print("  " + "  ".join((name.strip().ljust(widths[0]), *figures)).rstrip())
