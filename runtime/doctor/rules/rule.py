"""A rule, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..findings import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..facts import Facts


class Verdict(NamedTuple):
    """What a rule says of one thing: see :class:`Finding`, to which the rule adds its name and source."""

    level: Level
    area: str
    text: str
    cure: str = ""


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: as the JSON file and docs/doctor.md have it.
        source: an address, or a file of this project.
        check: what it finds in the facts; nothing where it has nothing to say.
    """

    name: str
    source: str
    check: Callable[[Facts], Iterable[Verdict]]

    def findings(self, facts: Facts) -> list[Finding]:
        """What it finds."""
        return [Finding(*verdict, rule=self.name, source=self.source) for verdict in self.check(facts)]


def red(area: str, text: str, cure: str) -> Verdict:
    """Something that is here does not work."""
    return Verdict(Level.RED, area, text, cure)


def yellow(area: str, text: str, cure: str = "") -> Verdict:
    """It runs, but is not as it should be."""
    return Verdict(Level.YELLOW, area, text, cure)
