"""A finding, and the line of the page that it stands at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is; the worst of several is their greatest."""

    GREEN = 0
    YELLOW = 1
    RED = 2

    @property
    def word(self) -> str:
        """In small letters, as in the JSON file."""
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """Something that does not fit, and what cures it.

    Attributes:
        level: yellow, it runs but is not as it should be; red, something that is here does not work.
        area: the line of the page that it belongs to, such as ``driver`` or ``gpu 0``.
        text: what was expected and what was found, in one or two sentences.
        cure: a command, or what to do where no command does it; a red finding always has one.
        rule: name of the rule that found it.
        source: where the rule is from: an address, or a file of this project.
    """

    level: Level
    area: str
    text: str
    cure: str = ""
    rule: str = ""
    source: str = ""


@dataclass(frozen=True)
class Line:
    """What was found in one area, and what is wrong with it."""

    area: str
    text: str
    findings: tuple[Finding, ...] = ()

    @property
    def level(self) -> Level:
        """The worst of its findings; green without one."""
        return max((finding.level for finding in self.findings), default=Level.GREEN)
