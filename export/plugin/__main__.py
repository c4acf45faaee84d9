"""``python -m defian_edge.export.plugin``: build the eigenvalue kernel, or print what it costs and what it saves."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from defian_edge.export.plugin.compile import ARCHITECTURES, build_fatbin, compile_report
from defian_edge.export.plugin.cpu_kernel import Cache, CpuKernel
from defian_edge.export.plugin.occupancy import MULTIPROCESSORS, occupancy
from defian_edge.runtime.arguments import count_of, path_of
from defian_edge.runtime.entry import printable
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin.launch import CHANNELS_LAST_MULTIPLE, Features, plan
from defian_edge.runtime.profile import DEFAULT_PROFILE


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0, or 2 if something that the user can mend went wrong."""
    try:
        options = _parser().parse_args(arguments)
        if options.command == "build":
            print(build_fatbin(options.out, options.sm or ARCHITECTURES))
        elif options.command == "report":
            print_report(options.sm)
        elif options.command == "plans":
            print_plans(options.model or ["defian-s-x2", "defian-s-x4"], options.profile)
        else:
            print_traffic(options.size[0], options.size[1], Cache(options.resident, options.l2_kib * 1024))
    except DefianError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m defian_edge.export.plugin", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build the fatbin that the runtime loads (needs nvcc)")
    build.add_argument(
        "--out", type=path_of("--out"), help="folder; the installed defian_edge.runtime.plugin's own by default"
    )
    report = commands.add_parser("report", help="registers, spills and occupancy per architecture (needs nvcc)")
    for command in (build, report):
        command.add_argument(
            "--sm",
            type=count_of("--sm", 50, 999),
            action="append",
            choices=sorted(MULTIPROCESSORS),
            metavar="CAPABILITY",
        )
        command.set_defaults(sm=None)
    traffic = commands.add_parser("traffic", help="bytes read and written, counted on the CPU (needs g++)")
    size = count_of("--size", 1, 8192, "pixels")
    traffic.add_argument("--size", type=size, nargs=2, default=(540, 960), metavar=("HEIGHT", "WIDTH"))
    resident = count_of("--resident", 1, 4096)
    traffic.add_argument("--resident", type=resident, default=Cache.resident, help="blocks in flight")
    l2_kib = count_of("--l2-kib", 1, 1_000_000, "KiB")
    traffic.add_argument("--l2-kib", type=l2_kib, default=Cache.l2_bytes // 1024, help="size of the modelled L2")
    plans = commands.add_parser("plans", help="bytes, kernels and memory of engines with the plugin and the function")
    plans.add_argument("--model", action="append", help="bundled name, or path of a checkpoint; repeatable")
    plans.add_argument("--profile", default=DEFAULT_PROFILE, help="minimum,optimum,maximum LR shape")
    return parser


def print_report(architectures: list[int] | None) -> None:
    """A Markdown table of the compiler's report and the occupancy that follows from it."""
    print("| sm | kernel | registers | spills, bytes | shared memory, bytes | warps |")
    print("|---|---|---|---|---|---|")
    for report in compile_report(architectures or ARCHITECTURES):
        features = Features(
            *(1, 8 * CHANNELS_LAST_MULTIPLE, 1, 1),
            fp16="_f16_" in report.kernel,
            channels_last=report.kernel.endswith("channels_last"),
        )
        chosen = plan(features, MULTIPROCESSORS[report.architecture].shared_per_block)
        resident = occupancy(report.architecture, report.registers, chosen.threads, chosen.shared_bytes)
        name = report.kernel.removeprefix("max_hessian_eigenvalue_")
        spills = report.spill_stores + report.spill_loads
        print(
            f"| {report.architecture} | {name} | {report.registers} | {spills} | {chosen.shared_bytes} | {resident} |"
        )


def print_plans(models: list[str], profile: str) -> None:
    """A Markdown table of what TensorRT-RTX plans for sm_89 in FP16, function beside plugin.

    Raises:
        DefianError: tensorrt-rtx is not installed, a model is unknown, or the profile has another form.
    """
    from defian_edge.export.engine.memory_plan import plan_of
    from defian_edge.export.graph import copy_of
    from defian_edge.export.rewrites import Use, apply_rewrites, select
    from defian_edge.export.trace.network import trace
    from defian_edge.models.bundled import resolve_model
    from defian_edge.models.checkpoint import load_checkpoint
    from defian_edge.runtime.profile import ShapeProfile

    shapes = ShapeProfile.parse(profile)
    print("| model | graph | eigenvalues by | GB moved | kernels | activation MB |")
    print("|---|---|---|---|---|---|")
    for model in models:
        checkpoint = load_checkpoint(resolve_model(model))
        plain = trace(checkpoint)
        for use in (Use.ENGINE, Use.PORTABLE):
            graph = copy_of(plain)
            apply_rewrites(graph, select((), use, shapes.maximum[0]))
            for step in ("function", "plugin"):
                plan = plan_of(graph, shapes, plugin=step == "plugin")
                moved = "not known" if plan.traffic is None else f"{plan.traffic.bytes / 1e9:.2f}"
                kernels = "not known" if plan.traffic is None else plan.traffic.kernels
                activation = "not known" if plan.activation_bytes is None else f"{plan.activation_bytes / 1e6:.1f}"
                print(f"| {checkpoint.name} | {use.value} | {step} | {moved} | {kernels} | {activation} |")


def print_traffic(height: int, width: int, cache: Cache) -> None:
    """A Markdown table of the bytes moved over the least possible, four ways of counting."""
    print("| type | layout | C | vectors | least, bytes | no cache | no L1 | sectors, no L2 | sectors, L2 |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        cpu_kernel = CpuKernel(Path(folder))
        for fp16 in (True, False):
            for channels_last in (False, True):
                for channels in (32, 64):
                    features = Features(1, channels, height, width, fp16=fp16, channels_last=channels_last)
                    for vectors in (2,) if fp16 else (1, 2) if channels_last else (1,):
                        counted = cpu_kernel.traffic(features, vectors, cache)
                        ratios = (
                            *(counted.uncached_ratio, counted.broadcast_ratio),
                            *(counted.sector_ratio, counted.cached_ratio),
                        )
                        print(
                            f"| FP{16 if fp16 else 32} | {'channels-last' if channels_last else 'linear'} | {channels} "
                            f"| {vectors} | {counted.least} | {' | '.join(f'{ratio:.3f}' for ratio in ratios)} |"
                        )


if __name__ == "__main__":
    sys.exit(main())
