"""What people write on a command line, refused at once where it makes no sense: one message, status 2.

The functions here make converters for argparse's ``type`` and typer's ``parser``. They raise ``DefianError``, which
both let through and every command line turns into its message.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import DefianError

if TYPE_CHECKING:
    from argparse import ArgumentParser, _ArgumentGroup
    from collections.abc import Callable, Iterable, Mapping

MOST_LETTERS = 60
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


def path_of(option: str) -> Callable[[str | Path], Path]:
    """A converter for a file or folder, which need not be there.

    A path is not empty, names no unknown user's home, and can be asked for by the system: it is not too long, holds no
    null, and lies in no folder that is closed to this user.
    """

    def convert(given: str | Path) -> Path:
        text = str(given)
        if not text.strip():
            raise DefianError(f"{option}: expected a path, found an empty one.", "Write . for this folder.")
        path = Path(text)
        try:
            if text.startswith("~"):
                path = path.expanduser()
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except RuntimeError as error:
            raise DefianError(f"{option} {shown(text)}: there is no such user's folder.") from error
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else "it holds a null"
            raise DefianError(f"{option} {shown(text)}: this path cannot be used: {said}.") from error
        return path

    return convert


def text_of(option: str) -> Callable[[str], str]:
    """A converter for what is a path or a name, and is kept as text."""
    convert = path_of(option)

    def checked(text: str) -> str:
        convert(text)
        return text

    return checked


def number_of(
    option: str, least: float = 0.0, most: float = 1e6, what: str = "a number"
) -> Callable[[str | float], float]:
    """A converter for a finite number from ``least`` to ``most``."""

    def convert(given: str | float) -> float:
        text = str(given)
        value = float(text) if len(text) <= MOST_LETTERS and NUMBER.fullmatch(text) else math.nan
        if not (math.isfinite(value) and least <= value <= most):
            raise DefianError(f"{option} {shown(text)}: expected {what} from {least:,.9g} to {most:,.9g}.")
        return value

    return convert


def count_of(
    option: str, least: int = 0, most: int = 1_000_000, what: str = "a whole number"
) -> Callable[[str | int], int]:
    """A converter for a whole number from ``least`` to ``most``."""

    def convert(given: str | int) -> int:
        text = str(given)
        if not re.fullmatch(r"[+-]?[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise DefianError(f"{option} {shown(text)}: expected {what} from {least} to {most}.")
        return int(text)

    return convert


def add_limits(parser: ArgumentParser | _ArgumentGroup, limits: Mapping[str, str]) -> None:
    """Options for limits in dB, none unless it is given: their names, and what each limits."""
    for option, words in limits.items():
        parser.add_argument(option, type=number_of(option, what="dB"), help=words)


def choice_of(option: str, choices: Iterable[str]) -> Callable[[str], str]:
    """A converter for one of some words."""
    known = tuple(choices)

    def convert(text: str) -> str:
        if text not in known:
            raise DefianError(f"{option} {shown(text)}: expected one of {', '.join(known)}.")
        return text

    return convert


def most_threads() -> int:
    """Threads that a library may be asked for: some for every core, where more only cost."""
    return max(64, 4 * (os.cpu_count() or 1))


def shown(text: str) -> str:
    """A word of a command line in a message; what nobody would read to its end is cut."""
    cut = text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}..."
    return repr(cut)
