"""Command line of the verification: ``python -m runtime verify ENGINE...``."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import add_limits, choice_of, number_of, path_of
from ..backends import PROVIDERS
from ..entry import carry_out, printable
from ..files import require_writable_file, write_whole
from ..log import add_verbose
from ..table import terminal_width
from .budget import BELOW_PROMISE, Budget
from .run import verify
from .strip import write_strip
from .tables import as_json, lines_of

if TYPE_CHECKING:
    from .run import Verdict

MOST_STRIPS = 8
"""Of one artefact."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exits with 0, 1 (a picture is wrong), 2 (bad usage or input, or an engine could not run), 130 (interrupted), 143
    (terminated) or 141 (nobody reads its output).
    """
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "runtime", "verify", *given])
    carry_out(lambda: _run(_parser().parse_args(given), command), "interrupted")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runtime verify",
        description="Hold graphs and engines on this device against what PyTorch made of the same pictures.",
    )
    parser.add_argument(
        "artefacts", nargs="+", type=path_of("ENGINE"), metavar="ENGINE", help=".engine and .onnx files"
    )
    parser.add_argument(
        "--reference",
        type=path_of("--reference"),
        metavar="PACK",
        help="a reference pack; by default the one each manifest names",
    )
    provider = choice_of("--provider", sorted(PROVIDERS))
    parser.add_argument(
        "--provider", type=provider, metavar="NAME", help="cpu, cuda or tensorrt: what runs .onnx files; default cpu"
    )
    add_limits(
        parser,
        {
            "--max-drift": "dB that any photo may lose against the original",
            "--min-psnr-to-reference": "dB that any photo must have to PyTorch's",
        },
    )
    parser.add_argument(
        "--max-below-promise",
        type=number_of("--max-below-promise", what="dB"),
        default=BELOW_PROMISE,
        help=f"dB by which a photo may be farther from PyTorch's than the export promised; default {BELOW_PROMISE:g}",
    )
    parser.add_argument("--json", type=path_of("--json"), help="file for every figure")
    parser.add_argument(
        "--out", type=path_of("--out"), default=Path("verify"), help="folder for wrong pictures; default verify"
    )
    add_verbose(parser)
    return parser


def _run(options: argparse.Namespace, command: str) -> int:
    budget = Budget(options.max_drift, options.min_psnr_to_reference, options.max_below_promise)
    if options.json is not None:
        require_writable_file(options.json, "--json")
    verdicts = verify(options.artefacts, options.reference, budget, options.provider)
    for verdict in verdicts:
        print(printable("\n".join(lines_of(verdict, terminal_width()))))
        _write_strips(verdict, options.out)
    if options.json is not None:
        content = json.dumps(as_json(verdicts, budget, command), indent=2) + "\n"
        write_whole(options.json, content.encode(), "--json")
        print(f"wrote {printable(options.json)}")
    wrong = sum(bool(each.failed) for each in verdicts)
    broken = sum(bool(each.error) for each in verdicts)
    print(f"{len(verdicts) - wrong - broken} of {len(verdicts)} right, {wrong} wrong, {broken} not run")
    return 2 if broken else 1 if wrong else 0


def _write_strips(verdict: Verdict, folder: Path) -> None:
    """The first wrong result of each picture; the rest is in the table."""
    seen: set[str] = set()
    for outcome in verdict.failed:
        if outcome.picture.name not in seen and len(seen) < MOST_STRIPS:
            seen.add(outcome.picture.name)
            strip = write_strip(outcome, verdict.path.name, folder)
            print(f"  wrote {printable(strip)} (reference, result, difference)")
