"""Command line of the benchmark."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from defian_edge.benchmark.budget import Budget
from defian_edge.benchmark.candidates import names_of
from defian_edge.benchmark.measure.latency import Sampling
from defian_edge.benchmark.measure.packed import has_pytorch, own_pack
from defian_edge.benchmark.options import BenchOptions
from defian_edge.benchmark.run import run_benchmark
from defian_edge.runtime.arguments import (
    add_limits,
    choice_of,
    count_of,
    most_threads,
    number_of,
    path_of,
    shown,
    text_of,
)
from defian_edge.runtime.backends import PROVIDERS
from defian_edge.runtime.entry import carry_out, printable
from defian_edge.runtime.errors import DefianError, MissingPackageError
from defian_edge.runtime.files import require_writable_file, require_writable_folder
from defian_edge.runtime.hardware.here import device_name
from defian_edge.runtime.log import add_verbose
from defian_edge.runtime.profile import Shape, ShapeProfile
from defian_edge.runtime.tiling import DEFAULT_OVERLAP, Tiling

if TYPE_CHECKING:
    from defian_edge.benchmark.report.table import Table


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with 0, 1 (a budget was exceeded), 2 (bad usage or input) or 130 (interrupted)."""
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "bench.py", *given])
    carry_out(lambda: _run(_parser().parse_args(given), command), "interrupted; nothing was written")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench.py", description="Speed, limits and drift of checkpoints, graphs and engines, measured in one run."
    )
    parser.add_argument(
        "artefacts",
        nargs="+",
        type=text_of("ARTEFACT"),
        metavar="ARTEFACT",
        help="bundled model, .pth, .onnx, .engine; the first is the base",
    )
    parser.add_argument("--shape", default="180x320", help="height x width of the LR image")
    parser.add_argument("--batch", default="1", help="images per run; several separated by commas")
    parser.add_argument(
        "--rounds", type=count_of("--rounds", 1), default=Sampling.rounds, help="samples per artefact, at least"
    )
    parser.add_argument(
        "--seconds",
        type=number_of("--seconds", 0, 1e5, "seconds"),
        default=Sampling.seconds,
        help="timed seconds per artefact, at least",
    )
    parser.add_argument(
        "--warm-up",
        type=number_of("--warm-up", 0, 1e5, "seconds"),
        default=Sampling.warm_up_seconds,
        help="untimed seconds per artefact",
    )
    parser.add_argument(
        "--provider",
        type=choice_of("--provider", sorted(PROVIDERS)),
        help="cpu, cuda or tensorrt: what runs the graphs; default cpu",
    )
    parser.add_argument(
        "--threads",
        type=count_of("--threads", 0, most_threads()),
        default=0,
        help="CPU threads; 0 leaves each library its choice",
    )
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory, which takes a process each")
    parser.add_argument("--no-energy", action="store_true", help="do not measure energy, which takes 2 s each")
    parser.add_argument(
        "--device",
        type=device_name,
        metavar="NAME",
        help="bounds for a device of docs/devices.md, such as orin-nano, rtx4090 or h100; auto: this one",
    )
    drift = parser.add_argument_group("drift")
    drift.add_argument(
        "--dataset", type=path_of("--dataset"), help="folder of HR images; LR is made by Pillow's bicubic"
    )
    drift.add_argument("--lr", type=path_of("--lr"), help="folder of LR images, with --hr")
    drift.add_argument("--hr", type=path_of("--hr"), help="folder of HR images of the same names")
    drift.add_argument(
        "--reference",
        type=text_of("--reference"),
        help="checkpoint to measure against, by default found by its hash; or a reference pack (.zip) and its photos, "
        "by default the artefact's own where there is no PyTorch",
    )
    drift.add_argument("--tile", help="HxW in LR pixels: measure what tiles of this size cost as well")
    overlap = count_of("--overlap", 0, 50_000, "LR pixels")
    drift.add_argument("--overlap", type=overlap, help=f"LR pixels that neighbours share; default {DEFAULT_OVERLAP}")
    add_limits(
        drift,
        {
            "--max-drift": "budget per image in dB; exit status 1 above it",
            "--max-mean-drift": "budget of the mean in dB",
            "--max-tile-drift": "budget per image of what tiles cost in dB; needs --tile",
            "--min-psnr-to-reference": "least PSNR against the reference's output in dB",
        },
    )
    results = parser.add_argument_group("results")
    results.add_argument("--json", type=path_of("--json"), help="file for figures, definitions and raw samples")
    results.add_argument(
        "--report", type=path_of("--report"), metavar="DIR", help="folder for a self-contained index.html"
    )
    results.add_argument("--against", type=path_of("--against"), help="earlier --json file to compare with")
    add_verbose(parser)
    return parser


def _run(options: argparse.Namespace, command: str) -> int:
    from defian_edge.benchmark.baseline.changes import differences, require_common
    from defian_edge.benchmark.baseline.comparability import other_conditions
    from defian_edge.benchmark.baseline.reading import read_json
    from defian_edge.benchmark.report.change_table import change_table
    from defian_edge.benchmark.report.show import show, terminal_here

    terminal = terminal_here()
    chosen = _options(options, command)
    old = None if options.against is None else read_json(options.against)
    if old is not None:
        timed = None if chosen.measures_drift else ["x".join(map(str, shape)) for shape in chosen.shapes]
        require_common(old, names_of(chosen.artefacts), timed)
    if options.json is not None:
        require_writable_file(options.json, "--json", f"For example --json {options.json / 'bench.json'}")
    if options.report is not None:
        _require_report_packages()
        require_writable_folder(options.report, "--report")
    console: Any = terminal.open_console()
    with terminal.progress() as say:
        result = run_benchmark(chosen, say=say)
    changes: list[Table] = []
    if old is not None:
        new = result.as_json()
        found, conditions = differences(old, new), other_conditions(old, new)
        conditions += [] if found else ["no figure is in both, so nothing is compared."]
        changes = [change_table(found)] if found else []
        result = replace(
            result, remarks=(*result.remarks, *(f"Against {options.against}: {each}" for each in conditions))
        )
    show(result, terminal, console)
    if options.json is not None:
        result.write(options.json)
        print(f"wrote {printable(options.json)}")
    for table in changes:
        terminal.show_table(table, console)
    if options.report is not None:
        from defian_edge.benchmark.report.page import write_page

        print(f"wrote {printable(write_page(result, options.report, changes))}")
    return 1 if result.over_budget else 0


def _require_report_packages() -> None:
    """Say before the work starts that the report cannot be made."""
    for package in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(package, "report", "--report")


def _options(options: argparse.Namespace, command: str) -> BenchOptions:
    if options.max_tile_drift is not None and options.tile is None:
        raise DefianError("A budget of the tile drift needs tiles.", "Give --tile 192x192, for example.")
    if options.provider and not any(each.endswith(".onnx") for each in options.artefacts):
        raise DefianError(
            f"--provider {options.provider}: expected a graph (.onnx), found {', '.join(options.artefacts)}.",
            "Leave --provider out: TensorRT runs engines and PyTorch checkpoints.",
        )
    reference = options.reference
    if reference is None and not has_pytorch() and options.dataset is options.lr is options.hr is None:
        reference = own_pack(options.artefacts)
    return BenchOptions(
        artefacts=tuple(options.artefacts),
        shapes=tuple(_shape(batch.strip(), options.shape) for batch in options.batch.split(",")),
        sampling=Sampling(options.rounds, options.seconds, options.warm_up),
        provider=options.provider or BenchOptions.provider,
        dataset=options.dataset,
        lr=options.lr,
        hr=options.hr,
        reference=reference,
        device=options.device,
        threads=options.threads,
        memory=not options.no_memory,
        energy=not options.no_energy,
        tiling=_tiling(options.tile, options.overlap),
        budget=Budget(
            drift=options.max_drift,
            psnr_to_reference=options.min_psnr_to_reference,
            mean_drift=options.max_mean_drift,
            tile_drift=options.max_tile_drift,
        ),
        command=command,
    )


def _tiling(tile: str | None, overlap: int | None) -> Tiling | None:
    if tile is None and overlap is not None:
        raise DefianError("An overlap needs tiles.", "Give --tile 192x192, for example.")
    return None if tile is None else Tiling.parse(tile, DEFAULT_OVERLAP if overlap is None else overlap)


def _shape(batch: str, shape: str) -> Shape:
    try:
        return ShapeProfile.parse(f"{batch}x{shape}").optimum
    except DefianError as error:
        raise DefianError(
            f"--shape {shown(shape)} with --batch {shown(batch)}: expected height x width such as 360x640, at least "
            "two pixels, and batches such as 1,4."
        ) from error
