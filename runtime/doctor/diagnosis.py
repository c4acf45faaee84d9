"""All that was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .findings import Level
from .page import page_of

if TYPE_CHECKING:
    from .facts import Facts
    from .findings import Finding, Line


@dataclass(frozen=True)
class Diagnosis:
    """What is on the device, and what of it does not work.

    Attributes:
        lines: the page, area by area.
        facts: what the rules judged.
        seconds: wall time of the facts and the rules, without the smoke test.
        smoke_seconds: wall time of the smoke test; None if there was none.
    """

    lines: tuple[Line, ...]
    facts: Facts
    seconds: float
    smoke_seconds: float | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything yellow or red, in the order of the page."""
        return tuple(finding for line in self.lines for finding in line.findings)

    @property
    def level(self) -> Level:
        """The worst of it."""
        return max((line.level for line in self.lines), default=Level.GREEN)

    def page(self, *, colour: bool = False) -> str:
        """The page as the command prints it; with ``colour`` as terminals do it."""
        return page_of(self.lines, (self.seconds, self.smoke_seconds), colour=colour)

    def __str__(self) -> str:
        """The page, without colour."""
        return self.page()
