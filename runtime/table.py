"""A table of words, and how it is printed where there is room for it and where there is not."""

from __future__ import annotations

import shutil
import textwrap
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_LIMIT = 1_000_000
"""Columns of a file or a pipe."""
MARGIN, GAP = "  ", "  "


@dataclass
class Table:
    """A table: a title, headings, and rows of as many cells. The first column names, the others hold figures.

    Attributes:
        words: headings of further columns that hold words, which stand to the left.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    words: tuple[str, ...] = ()

    def add(self, *cells: str) -> None:
        """Append a row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"expected {len(self.columns)} cells, found {len(cells)}")
        self.rows.append(cells)

    def is_left(self, column: int) -> bool:
        """Whether a column holds words."""
        return not column or self.columns[column] in self.words

    def widths(self) -> list[int]:
        """Of every column, the widest cell."""
        rows = (self.columns, *self.rows)
        return [max(shown_width(row[column]) for row in rows) for column in range(len(self.columns))]

    def lines(self, width: int = NO_LIMIT) -> list[str]:
        """Headings and rows, or records where that is wider than ``width``; without the title."""
        widths = self.widths()
        if len(MARGIN) + sum(widths) + len(GAP) * (len(widths) - 1) > width:
            return self.records(width)
        return [
            (MARGIN + GAP.join(self._padded(cell, column, widths[column]) for column, cell in enumerate(row))).rstrip()
            for row in (self.columns, *self.rows)
        ]

    def records(self, width: int) -> list[str]:
        """A paragraph a row and a line a field, so that no figure and no name is cut."""
        lines = []
        for name, *cells in self.rows:
            lines.append(name)
            for heading, cell in zip(self.columns[1:], cells, strict=True):
                if cell:
                    lines += _field(heading, cell, width)
        return lines

    def _padded(self, cell: str, column: int, width: int) -> str:
        space = " " * (width - shown_width(cell))
        return cell + space if self.is_left(column) else space + cell


def _field(heading: str, cell: str, width: int) -> Iterable[str]:
    whole = f"{MARGIN}{heading} {cell}"
    if shown_width(whole) <= width:
        return [whole]
    return [*_wrapped(heading, width, MARGIN), *_wrapped(cell, width, 2 * MARGIN)]


def _wrapped(text: str, width: int, margin: str) -> list[str]:
    """Between words only: what is longer than a line is left to the terminal."""
    return textwrap.wrap(
        text,
        max(width, len(margin) + 1),
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def shown_width(text: str) -> int:
    """Columns that a text takes in a terminal: Chinese, Japanese and Korean letters take two, accents none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def terminal_width() -> int:
    """Columns of standard output, or ``$COLUMNS``; no limit for a file or a pipe."""
    return shutil.get_terminal_size((NO_LIMIT, 1)).columns
