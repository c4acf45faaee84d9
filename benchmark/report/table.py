"""A table of words, for a terminal and for the page."""

from __future__ import annotations

from dataclasses import dataclass, field

HALF_A_CARD = 18
"""Letters that a heading and its figure have in half the width of a telephone."""


@dataclass
class Table:
    """A table: a title, headings, and rows of as many cells. The first column names, the others hold figures."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"expected {len(self.columns)} cells, found {len(cells)}")
        self.rows.append(cells)

    def is_long(self, column: int) -> bool:
        """Whether a column's heading and longest cell need the whole width of a telephone."""
        return len(self.columns[column]) + max((len(row[column]) for row in self.rows), default=0) > HALF_A_CARD
