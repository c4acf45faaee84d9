"""``python -m tools.networks``: what each kind of network costs in each precision, and what becomes of it in an engine.

The networks are small and written here (:mod:`tools.architectures`). With random weights their pictures are no pictures
of anything: what says how near a precision is to the network is PSNR to the network's own picture, and not drift
against an original. ``--train`` trains each of them first. How long each took stands on standard error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.rewrites import ALL
from defian_edge.export.source.picture import Channels, PictureFormat
from defian_edge.runtime.arguments import choice_of, count_of, number_of, path_of
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import ShapeProfile
from tools.architectures import ARCHITECTURES, LARGE, LUMA_ALONE, random_network, scale_of
from tools.brief_training import train_briefly
from tools.study import parsed, table_or_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defian_edge.export.artefacts import Artefact, ExportResult

PROFILE = "1x64x64,1x180x320,1x360x640"
SM = 89
MEGA = 1e6
COLUMNS = ("network", "sizes", "reach", "precision", "drift dB", "8-bit dB", "unrounded dB", "engine", "memory MB")


@dataclass(frozen=True)
class Row:
    """One network in one precision, in words."""

    cells: tuple[str, ...]


def measure_networks(names: list[str], wanted: ExportOptions, steps: int = 0) -> Iterator[Row]:
    """Export every network and say what became of it.

    Args:
        names: of :data:`.architectures.ARCHITECTURES` and ``LARGE``.
        wanted: how; its folder and picture format are each network's own.
        steps: of training; 0 leaves the weights random.
    """
    for name in names:
        picture = PictureFormat(channels=Channels.Y if name in LUMA_ALONE else Channels.RGB)
        with tempfile.TemporaryDirectory() as folder:
            options = replace(wanted, out=Path(folder), picture=picture)
            print(name, file=sys.stderr, flush=True)
            network = random_network(name)
            if steps:
                train_briefly(network, picture, scale_of(name), steps)
            began = time.perf_counter(), time.process_time()
            try:
                result = run_export(network, options)
            except DefianError as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                yield Row((name, *("-",) * 6, "not exported, see above", "-"))
                continue
        seconds = time.perf_counter() - began[0], time.process_time() - began[1]
        print(f"{name}: {seconds[0]:.0f} s, {seconds[1]:.0f} s of processor time", file=sys.stderr, flush=True)
        for index, artefact in enumerate(result.artefacts):
            yield Row((*(_about(name, result) if index == 0 else ("", "", "")), *_figures(artefact)))


def _about(name: str, result: ExportResult) -> tuple[str, str, str]:
    padded = result.network.description.partition("padded to ")[2] or "any"
    reach = result.network.reach
    return name, padded, "whole image" if reach["whole_image"] else f"{reach['pixels']} px"


def _figures(artefact: Artefact) -> tuple[str, ...]:
    report, engine = artefact.drift, artefact.engine
    drift = ("-",) * 3
    if report is not None:
        each = (report.worst.drift, report.psnr_to_reference, report.unrounded_to_reference)
        drift = (f"{each[0]:+.4f}", f"{each[1]:.1f}", f"{each[2]:.1f}")
    built = ("-", "-")
    if engine is not None:
        memory = "-" if engine.activation_bytes is None else f"{engine.activation_bytes / MEGA:.1f}"
        built = (f"built in {engine.build_seconds:.1f} s", memory)
    return (artefact.variant.precision.value, *drift, *built)


def main() -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.networks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        type=choice_of("--only", [*ARCHITECTURES, *LARGE]),
        help=f"one of them, or of {list(LARGE)}; repeatable",
    )
    parser.add_argument("--lr", type=path_of("--lr"), help="folder of LR images, with --hr; default: bundled photos")
    parser.add_argument("--hr", type=path_of("--hr"), help="folder of HR images of the same names")
    parser.add_argument("--max-drift", type=number_of("--max-drift", what="dB"), help="dB a precision may lose")
    steps = count_of("--train", 0, 1_000_000)
    parser.add_argument("--train", type=steps, default=0, help="steps of training on bundled photos; default 0")
    parser.add_argument("--no-engines", action="store_true", help="graphs alone")
    names = [rewrite.name for rewrite in ALL]
    parser.add_argument(
        "--no-rewrite",
        action="append",
        default=[],
        type=choice_of("--no-rewrite", names),
        help="switch one graph rewrite off; repeatable",
    )
    known = [each.value for each in Precision]
    parser.add_argument(
        "--precision", action="append", type=choice_of("--precision", known), help=f"of {known}; default fp32 and fp16"
    )
    options = parsed(parser)
    precisions = tuple(map(Precision, options.precision or ("fp32", "fp16")))
    engines = is_available(Target.TENSORRT_RTX) and not options.no_engines
    photos = "the bundled photos" if options.lr is None else str(options.lr)
    weights = f"Weights of {options.train} steps" if options.train else "Random weights"
    title = f"{weights}, {photos}; " + (f"TensorRT-RTX sm_{SM}, {PROFILE}" if engines else "no engines")
    table = Table(*COLUMNS, title=title)
    with table_or_error(table):
        wanted = ExportOptions(
            Path(),
            precisions,
            target=Target.TENSORRT_RTX if engines else Target.ONNX,
            sm=SM if engines else None,
            profile=ShapeProfile.parse(PROFILE),
            lr=options.lr,
            hr=options.hr,
            max_drift=options.max_drift,
            reference_size=0.0,
            rewrite_memory=False,
            without=tuple(options.no_rewrite),
        )
        for row in measure_networks(options.only or list(ARCHITECTURES), wanted, options.train):
            table.add_row(*row.cells)


if __name__ == "__main__":
    main()
