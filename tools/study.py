"""What the commands behind the tables of the documents share: their options, and a table or an error at the end."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from defian_edge.calibration.photos import PATCH, PATCHES
from defian_edge.runtime.arguments import count_of, path_of, shown, text_of
from defian_edge.runtime.entry import printable
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterator, Sequence

    from rich.table import Table

WIDTH = 130
LEAST_SIDE = 8


def add_model_and_images(parser: ArgumentParser) -> None:
    """``--model``, and the pairs that drift is measured on."""
    parser.add_argument("--model", required=True, type=text_of("--model"), help="bundled name, or path of a checkpoint")
    parser.add_argument("--lr", type=path_of("--lr"), help="folder of LR images, with --hr; default: bundled photos")
    parser.add_argument("--hr", type=path_of("--hr"), help="folder of HR images of the same names")


def add_calibration(parser: ArgumentParser) -> None:
    """``--calibration`` and ``--patches``."""
    parser.add_argument("--calibration", type=path_of("--calibration"), help="folder of HR photos; default: bundled")
    count = count_of("--patches", 1, 1_000_000)
    parser.add_argument("--patches", type=count, default=PATCHES, help=f"calibration patches of {PATCH}x{PATCH}")


def parsed(parser: ArgumentParser, arguments: Sequence[str] | None = None) -> Namespace:
    """What a command line says; exits with 2 where it makes no sense."""
    with message():
        return parser.parse_args(arguments)


def size_of(option: str) -> Callable[[str], tuple[int, int]]:
    """A converter for width and height, each of 8 to 9999 pixels."""

    def convert(text: str) -> tuple[int, int]:
        found = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", text)
        sides = (0, 0) if found is None else (int(found[1]), int(found[2]))
        if min(sides) < LEAST_SIDE:
            raise DefianError(f"{option} {shown(text)}: expected a width and height such as 640x360.")
        return sides

    return convert


@contextmanager
def message() -> Iterator[None]:
    """Exits with 2 and one message on bad input."""
    try:
        yield
    except DefianError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(2)


@contextmanager
def table_or_error(table: Table) -> Iterator[None]:
    """Print the table that the block fills; exits with 2 on bad input, and if it fills in nothing."""
    with message():
        yield
        if not table.rows:
            raise DefianError("No row is left of what was asked for.", "Leave out the options that choose rows.")
    Console(width=WIDTH).print(table)
