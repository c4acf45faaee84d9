"""What is being done, for whoever wants to know: each file logs under its own name, and ``--verbose`` shows it.

The library itself prints nothing, and logs nothing above INFO: what a caller has to know is in results, errors and
warnings. A program that uses the library sets up logging as it likes, by the names ``defian_edge.<room>``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING, Any

from .entry import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = __name__.partition(".")[0]
"""Name above all loggers: ``defian_edge``, or ``runtime`` where this folder runs alone."""
WORDS = "say on standard error what is being done"


class _StandardError(logging.Handler):
    """To whatever is standard error at that moment, so that it goes through a progress display instead of over it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(printable(self.format(record)), file=sys.stderr)


def show_log() -> None:
    """Show what the library logs on standard error, each line with the seconds since the start; again is harmless."""
    logger = logging.getLogger(ROOT)
    logger.setLevel(logging.DEBUG)
    if not any(isinstance(handler, _StandardError) for handler in logger.handlers):
        handler = _StandardError()
        handler.setFormatter(_Seconds("%(seconds)8.2f s  %(name)s: %(message)s"))
        logger.addHandler(handler)


class _Seconds(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.seconds = record.relativeCreated / 1000.0
        return super().format(record)


class _Verbose(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - as argparse calls it
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        setattr(namespace, self.dest, True)
        show_log()


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """The option ``--verbose`` for a command."""
    parser.add_argument("--verbose", action=_Verbose, nargs=0, default=False, help=WORDS)


def telling(logger: logging.Logger, say: Callable[[str], None]) -> Callable[[str], None]:
    """A ``say`` that logs what it is told as well."""

    def both(text: str) -> None:
        logger.info("%s", text)
        say(text)

    return both
