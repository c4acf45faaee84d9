"""A whole result on a terminal: every table, then the remarks and what exceeds a budget."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Protocol, cast

from defian_edge.benchmark.report.tables import result_tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from defian_edge.benchmark.report.table import Table
    from defian_edge.benchmark.results import BenchResult


class Terminal(Protocol):
    """What ``plain.py`` and ``terminal.py`` both are."""

    def open_console(self) -> Any:  # noqa: ANN401 - rich's console, or one that only prints
        """Standard output."""

    def progress(self) -> AbstractContextManager[Callable[[str], None]]:
        """Told what is being done."""
        ...

    def show_table(self, table: Table, console: Any) -> None:  # noqa: ANN401
        """Print a table."""

    def show_line(self, kind: str, text: str, console: Any) -> None:  # noqa: ANN401
        """Print a line that says what it is: ``note`` or ``over budget``."""


def terminal_here() -> Terminal:
    """The one with colours and columns that fit, or plain text where rich is not installed."""
    if importlib.util.find_spec("rich") is None:
        from defian_edge.benchmark.report import plain

        return cast("Terminal", plain)
    from defian_edge.benchmark.report import terminal

    return cast("Terminal", terminal)


def show(result: BenchResult, terminal: Terminal, console: Any) -> None:  # noqa: ANN401
    """Print all tables and remarks."""
    for table in result_tables(result):
        terminal.show_table(table, console)
    for remark in result.remarks:
        terminal.show_line("note", remark, console)
    for sentence in result.over_budget:
        terminal.show_line("over budget", sentence, console)
