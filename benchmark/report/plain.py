"""The result as plain text, where rich is not installed: the same tables, figures and words as ``terminal.py``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from defian_edge.runtime.entry import printable
from defian_edge.runtime.table import terminal_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from defian_edge.benchmark.report.table import Table


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


def show_line(kind: str, text: str, console: PlainConsole) -> None:
    """A line that says what it is: ``note`` or ``over budget``."""
    console.print(f"{kind} {text}")


def show_table(table: Table, console: PlainConsole) -> None:
    """A table: names to the left, figures to the right; records in a terminal that is too narrow for it."""
    console.print(table.title)
    for line in table.lines(terminal_width()):
        console.print(line)
