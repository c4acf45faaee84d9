"""The memory that a graph's engine asks for, size by size, as a session counts it before it loads one.

``python -m tools.jetson.memory build/defian-s-x2.fp16.onnx`` builds with TensorRT-RTX for compute capability 8.6, the
nearest that it has to an Orin's 8.7: no GPU is needed, and TensorRT's own plan on the device is another one.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target
from defian_edge.runtime.engine.preflight import engine_facts, needed_bytes
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.profile import ShapeProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defian_edge.runtime.manifest import Manifest

SIZES = ("270x480", "360x640", "540x960", "720x1280", "1080x1920")
SM = 86
MEGA = 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.jetson.memory", description=__doc__)
    parser.add_argument("graphs", nargs="+", type=Path, metavar="GRAPH", help=".onnx files that export.py wrote")
    parser.add_argument("--size", action="append", metavar="HxW", help=f"LR pixels; default {', '.join(SIZES)}")
    options = parser.parse_args(arguments)
    print("| graph | LR | activations MB | weights MB | frames MB | together MB |", flush=True)
    print("|---|---|---|---|---|---|")
    try:
        for graph in options.graphs:
            for size in options.size or SIZES:
                print(row(graph, size), flush=True)
    except DefianError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def planned(graph: Path, size: str) -> Manifest:
    """The manifest that an engine of this graph would have, for one image of a size such as ``540x960``.

    Raises:
        DefianError: graph or size cannot be used, or TensorRT-RTX is missing or refuses.
    """
    manifest, profile = read_manifest(graph), ShapeProfile.parse(f"1x{size}")
    options = EngineOptions(Target.TENSORRT_RTX, profile, uint8=manifest.io == "uint8", sm=SM)
    return replace(manifest, engine=build_engine(graph.read_bytes(), options).facts, profile=profile)


def row(graph: Path, size: str) -> str:
    """A line of the table."""
    manifest = planned(graph, size)
    facts = engine_facts(manifest)
    activations, weights = facts.activation_bytes or 0, facts.weights_bytes or 0
    together = needed_bytes(manifest)
    figures = (activations, weights, together - activations - weights, together)
    return " | ".join([f"| {manifest.precision}", size, *(f"{each / MEGA:.1f}" for each in figures)]) + " |"


if __name__ == "__main__":
    main()
