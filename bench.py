"""Time exported graphs against each other: ``python bench.py build/*.onnx --shape 180x320``."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.errors import DefianError
from runtime.files import write_whole
from runtime.onnx_session import PROVIDERS
from runtime.profile import ShapeProfile
from runtime.session import open_session
from runtime.timing import Latency, take_turns

if TYPE_CHECKING:
    from runtime.profile import Shape

SCHEMA = 1


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with 0, or 2 on bad usage or input."""
    parser = argparse.ArgumentParser(
        prog="bench.py", description="Latency of exported graphs, taking turns in one run."
    )
    parser.add_argument(
        "artefacts", nargs="+", type=Path, metavar="ARTEFACT", help=".onnx files; the first is the base"
    )
    parser.add_argument("--shape", default="180x320", help="height x width of the LR image")
    parser.add_argument("--batch", type=int, default=1, help="images per run")
    parser.add_argument("--rounds", type=int, default=10, help="samples per artefact")
    parser.add_argument("--provider", default="cpu", choices=sorted(PROVIDERS), help="what runs the graphs")
    parser.add_argument("--json", type=Path, help="file for the raw samples")
    options = parser.parse_args(arguments)
    try:
        shape = ShapeProfile.parse(f"{options.batch}x{options.shape}").optimum
        results = measure(options.artefacts, shape, options.rounds, options.provider)
        if options.json is not None:
            write_whole(options.json, (json.dumps(as_json(results, shape, options.provider), indent=2) + "\n").encode())
    except DefianError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(as_text(results, shape))


def measure(artefacts: list[Path], shape: Shape, rounds: int, provider: str) -> list[Latency]:
    """End-to-end latency, uint8 image in host memory to uint8 image in host memory.

    Raises:
        DefianError: an artefact does not fit its manifest, or the provider cannot run here.
    """
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with ExitStack() as stack:
        sessions = {str(path): stack.enter_context(open_session(path, provider)) for path in artefacts}
        return take_turns({name: partial(session, image) for name, session in sessions.items()}, rounds)


def as_text(results: list[Latency], shape: Shape) -> str:
    """A table for the terminal; the ratio is that of each round, its quartiles in brackets."""
    width = max(len(result.name) for result in results)
    lines = [f"{'x'.join(map(str, shape))} LR, {len(results[0].seconds)} rounds, end to end, milliseconds"]
    lines.append(f"{'artefact':{width}}  {'min':>8} {'median':>8} {'p95':>8}  ratio to the first")
    for result in results:
        low, high = result.ratio_spread
        milliseconds = [1e3 * value for value in (result.seconds.min(), result.median, result.percentile(95))]
        figures = " ".join(f"{value:8.1f}" for value in milliseconds)
        lines.append(f"{result.name:{width}}  {figures}  {result.ratio:.3f} [{low:.3f}, {high:.3f}]")
    return "\n".join(lines)


def as_json(results: list[Latency], shape: Shape, provider: str) -> dict[str, object]:
    """Raw samples with what is needed to compare them later."""
    return {
        "schema": SCHEMA,
        "shape": list(shape),
        "provider": provider,
        "machine": {"python": platform.python_version(), "platform": platform.platform()},
        "definition": "seconds from uint8 in host memory to uint8 in host memory, candidates taking turns",
        "samples": {result.name: result.seconds.tolist() for result in results},
    }


if __name__ == "__main__":
    main()
