"""The result as tables to read in a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from defian_edge.export.terminal import open_console, show_table
from defian_edge.runtime.entry import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["open_console", "progress", "show_line", "show_table"]

COLOURS = {"note": "yellow", "over budget": "red"}


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Shows on standard error what is being done, which it is told."""
    with Console(stderr=True).status("starting") as status:
        yield lambda text: status.update(escape(printable(text)))


def show_line(kind: str, text: str, console: Console) -> None:
    """A line that says what it is: ``note`` or ``over budget``."""
    console.print(f"[{COLOURS[kind]}]{kind}[/{COLOURS[kind]}] {escape(printable(text))}", soft_wrap=True)
