"""The page: one line for each thing that was found, and below it what is wrong and what cures it."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from .. import __version__
from ..entry import printable
from .findings import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .findings import Line

WORDS = {Level.GREEN: "ok", Level.YELLOW: "warn", Level.RED: "FAIL"}
COLOURS = {Level.GREEN: "32", Level.YELLOW: "33", Level.RED: "31;1"}
WIDTH = 118
MARGIN = 16


def page_of(found: Sequence[Line], seconds: tuple[float, float | None], *, colour: bool = False) -> str:
    """The whole page.

    Args:
        found: its lines.
        seconds: wall time of the facts and the rules, and of the smoke test; None if there was none.
        colour: whether the words are coloured as terminals do it (ECMA-48).
    """
    lines = [f"defian-edge {__version__}, doctor"]
    for line in found:
        lines += _lines_of(line, colour=colour)
    counts = [sum(line.level == level for line in found) for level in Level]
    smoke = "" if seconds[1] is None else f", smoke test {seconds[1]:.1f} s"
    total = ", ".join(f"{count} {level.word}" for count, level in zip(counts, Level, strict=True))
    return "\n".join([*lines, f"{total}; {seconds[0]:.1f} s{smoke}"])


def _lines_of(line: Line, *, colour: bool) -> list[str]:
    word = f"{WORDS[line.level]:<4}"
    if colour:
        word = f"\x1b[{COLOURS[line.level]}m{word}\x1b[0m"
    first, *more = _wrapped(line.text) or [""]
    lines = [f"{word}  {line.area:<10}{first}", *(f"{'':<{MARGIN}}{each}" for each in more)]
    for finding in line.findings:
        lines += [f"{'':<{MARGIN}}{each}" for each in _wrapped(finding.text)]
        if finding.cure:
            lines.append(f"{'':<{MARGIN}}-> {printable(finding.cure)}")
    return lines


def _wrapped(text: str) -> list[str]:
    """Lines of a width that fits a screen; a cure is never broken, or it could not be copied."""
    plain = " ".join(printable(text).split())
    return wrap(plain, WIDTH - MARGIN, break_long_words=False, break_on_hyphens=False)
