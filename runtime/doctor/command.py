"""Command line of the doctor: ``python -m runtime doctor [ENGINE]``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..arguments import path_of
from ..entry import carry_out, printable
from ..files import require_writable_file, write_whole
from ..hardware.here import device_name
from ..log import add_verbose
from ..producer import BUILT_BY
from .findings import Level
from .run import doctor

if TYPE_CHECKING:
    from .diagnosis import Diagnosis

SCHEMA = 1


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exits with 0 (nothing is red), 1 (something is), 2 (bad usage), 130 (interrupted), 143 (terminated) or 141 (nobody
    reads its output).
    """
    given = sys.argv[1:] if arguments is None else arguments
    carry_out(lambda: _run(_parser().parse_args(given)), "interrupted")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runtime doctor",
        description="Say what is on this device, what of it does not work, and what cures it.",
    )
    parser.add_argument(
        "engine",
        nargs="?",
        type=path_of("ENGINE"),
        metavar="ENGINE",
        help="a .onnx or .engine file: say whether it runs here, and if not why and what rebuilds it",
    )
    parser.add_argument(
        "--device",
        type=device_name,
        metavar="NAME",
        help="a device of docs/devices.md, or auto: say what it needs, and whether ENGINE runs there",
    )
    parser.add_argument("--json", type=path_of("--json"), metavar="FILE", help="file for everything that was found")
    parser.add_argument("--no-smoke", action="store_true", help="run nothing: leave out the smoke test")
    add_verbose(parser)
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.json is not None:
        require_writable_file(options.json, "--json")
    found = doctor(options.engine, smoke=not options.no_smoke, device=options.device)
    print(found.page(colour=_wants_colour()))
    if options.json is not None:
        write_whole(options.json, (json.dumps(as_json(found), indent=2) + "\n").encode(), "--json")
        print(f"wrote {printable(options.json)}")
    return 1 if found.level == Level.RED else 0


def _wants_colour() -> bool:
    """Colour goes to terminals alone, and to none where ``NO_COLOR`` is set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything, in JSON's types."""
    return {
        "schema": SCHEMA,
        "built_by": BUILT_BY,
        "level": diagnosis.level.word,
        "seconds": diagnosis.seconds,
        "smoke_seconds": diagnosis.smoke_seconds,
        "lines": [
            {
                "area": line.area,
                "level": line.level.word,
                "text": line.text,
                "findings": [asdict(finding) | {"level": finding.level.word} for finding in line.findings],
            }
            for line in diagnosis.lines
        ],
        "facts": asdict(diagnosis.facts),
    }
