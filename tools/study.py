"""What the commands behind the tables of the documents share: their options, and a table or an error at the end."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from defian_edge.calibration.photos import PATCH, PATCHES
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

    from rich.table import Table

WIDTH = 130


def add_model_and_images(parser: ArgumentParser) -> None:
    """``--model``, and the pairs that drift is measured on."""
    parser.add_argument("--model", required=True, help="bundled name, or path of a checkpoint")
    parser.add_argument("--lr", type=Path, help="folder of LR images, with --hr; default: bundled photos")
    parser.add_argument("--hr", type=Path, help="folder of HR images of the same names")


def add_calibration(parser: ArgumentParser) -> None:
    """``--calibration`` and ``--patches``."""
    parser.add_argument("--calibration", type=Path, help="folder of HR photos; default: bundled")
    parser.add_argument("--patches", type=int, default=PATCHES, help=f"calibration patches of {PATCH}x{PATCH}")


@contextmanager
def table_or_error(table: Table) -> Iterator[None]:
    """Print the table that the block fills; exits with 2 on bad input."""
    try:
        yield
    except DefianError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    Console(width=WIDTH).print(table)
