"""A table of words, for a terminal and for the page."""

from __future__ import annotations

from dataclasses import dataclass

from defian_edge.runtime import table

HALF_A_CARD = 18
"""Letters that a heading and its figure have in half the width of a telephone."""


@dataclass
class Table(table.Table):
    """A table that knows where the page needs room for it."""

    def is_long(self, column: int) -> bool:
        """Whether a column's heading and longest cell need the whole width of a telephone."""
        return len(self.columns[column]) + max((len(row[column]) for row in self.rows), default=0) > HALF_A_CARD
