"""Command line of the export. Heavy packages are imported when the work starts, so that --help is quick."""

from __future__ import annotations

import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from defian_edge.runtime.arguments import count_of, number_of, path_of, shown
from defian_edge.runtime.entry import (
    INTERRUPTED,
    NOBODY_READS,
    finish,
    printable,
    raise_if_ended,
    say_full,
    status_of,
    typers_status,
)
from defian_edge.runtime.errors import FULL, DefianError, MissingPackageError
from defian_edge.runtime.log import show_log
from defian_edge.runtime.profile import DEFAULT_PROFILE, ShapeProfile

try:
    import typer
    from rich.console import Console
except ImportError as error:  # the base installation runs on devices and has neither
    raise_if_ended()
    raise MissingPackageError("typer", "export", "export.py") from error

if TYPE_CHECKING:
    from defian_edge.export.artefacts import ExportResult
    from defian_edge.export.device import EngineChoice
    from defian_edge.export.options import ExportOptions
    from defian_edge.export.source.opening import Source

Choice = TypeVar("Choice", bound=Enum)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _list_models(value: bool) -> None:
    if value:
        from defian_edge.models.bundled import bundled_models

        try:
            for name, path in bundled_models().items():
                print(f"{name}\t{path}", flush=True)
        except BrokenPipeError:  # typer would make 1 of it
            finish(NOBODY_READS)
        raise typer.Exit


@app.command(help="Export a super-resolution network to ONNX graphs and TensorRT engines with a measured drift.")
def export(
    model: Annotated[
        str, typer.Option(help="Bundled name, path of a DeFiAN .pth or .safetensors, or any network as FP32 .onnx.")
    ],
    out: Annotated[
        Path, typer.Option(parser=path_of("--out"), metavar="DIR", help="Folder for graphs, engines and manifests.")
    ] = Path("build"),
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32, fp16, bf16, int8; repeatable. Default: all but bf16.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Device of docs/devices.md, auto for this one: chooses target, sm, workspace, and looks at memory.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="onnx, tensorrt (this device), tensorrt-rtx (ahead of time). Default: onnx, or as --device needs."
        ),
    ] = None,
    sm: Annotated[
        str | None, typer.Option(help="For tensorrt-rtx: a compute capability such as 89; current (this GPU); any.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Minimum,optimum,maximum LR shape, each NxHxW.")] = DEFAULT_PROFILE,
    scale: Annotated[
        int | None,
        typer.Option(parser=count_of("--scale", 1, 16), metavar="N", help="Scale that is expected. Default: any."),
    ] = None,
    input_range: Annotated[
        str, typer.Option(help="Of an .onnx network's black and white: 0..1, 0..255, -1..1.")
    ] = "0..1",
    channel_order: Annotated[str, typer.Option(help="Of an .onnx network's channels: rgb, bgr.")] = "rgb",
    channels: Annotated[
        str, typer.Option(help="What an .onnx network upscales: rgb, or y (luma; chroma then by a bicubic filter).")
    ] = "rgb",
    mean: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="What an .onnx network wants subtracted, per channel.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="What it wants to be divided by then, per channel.")
    ] = None,
    io: Annotated[str, typer.Option(help="uint8 (NHWC RGB) or float (normalised NCHW, for parity tests).")] = "uint8",
    calibration: Annotated[
        Path | None,
        typer.Option(
            parser=path_of("--calibration"), metavar="DIR", help="Folder of HR photos for INT8. Default: bundled."
        ),
    ] = None,
    patches: Annotated[
        int,
        typer.Option(
            parser=count_of("--patches", 1, 100_000), metavar="N", help="LR calibration patches of 96x96 pixels."
        ),
    ] = 64,
    ranges: Annotated[
        str, typer.Option(help="Activation ranges: robust, mse, percentile (99.999), entropy, minmax.")
    ] = "robust",
    int8_scope: Annotated[
        str, typer.Option(help="convolutions, or features: most feature maps of C channels as well.")
    ] = "convolutions",
    int8_without: Annotated[
        list[str] | None,
        typer.Option(help="Leave a helper out: equalise, channels, side, basis, residue, alternate; repeatable."),
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Measure what each part of the network costs in INT8.")
    ] = False,
    dataset: Annotated[
        Path | None,
        typer.Option(parser=path_of("--dataset"), metavar="DIR", help="Folder of HR photos to measure drift on."),
    ] = None,
    lr: Annotated[
        Path | None, typer.Option(parser=path_of("--lr"), metavar="DIR", help="Folder of LR images, with --hr.")
    ] = None,
    hr: Annotated[
        Path | None, typer.Option(parser=path_of("--hr"), metavar="DIR", help="Folder of HR images of the same names.")
    ] = None,
    max_drift: Annotated[
        float | None,
        typer.Option(
            parser=number_of("--max-drift", what="dB"),
            metavar="DB",
            help="Drift budget per image in dB; exit status 1 above it. FP16 that misses it is first typed anew in the "
            "parts that need it.",
        ),
    ] = None,
    eigen: Annotated[
        str, typer.Option(help="Eigenvalue step: plugin (one kernel), function, or inline; see docs/plugin.md.")
    ] = "function",
    no_rewrite: Annotated[list[str] | None, typer.Option(help="Switch one graph rewrite off; repeatable.")] = None,
    graph_for: Annotated[
        str | None, typer.Option(help="Rewrites for portable graphs or for an engine. Default: as --target needs.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="No rewrite at all: the graph as traced, for comparison.")
    ] = False,
    reference_size: Annotated[
        float,
        typer.Option(
            parser=number_of("--reference-size", what="MB"),
            metavar="MB",
            help="MB of the pictures for `python -m runtime verify` at most; 0 for none.",
        ),
    ] = 8.0,
    rewrite_memory: Annotated[
        bool | None,
        typer.Option(
            "--rewrite-memory/--no-rewrite-memory",
            help="TensorRT-RTX's plan (memory, kernels, bytes) after every rewrite, or none. Default: first and last.",
        ),
    ] = None,
    workspace: Annotated[
        int | None,
        typer.Option(
            parser=count_of("--workspace", 1), metavar="MIB", help="Compiler workspace in MiB; 1024 on an 8 GB Jetson."
        ),
    ] = None,
    optimisation_level: Annotated[
        int | None,
        typer.Option(
            parser=count_of("--optimisation-level", 0, 5), metavar="N", help="Builder optimisation level, 0 to 5."
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            parser=path_of("--triton"), metavar="REPOSITORY", help="Triton model repository to add a version to."
        ),
    ] = None,
    triton_backend: Annotated[
        str, typer.Option(help="native (Triton's own for plans and graphs), or session (ours, in its Python backend).")
    ] = "native",
    triton_provider: Annotated[
        str | None, typer.Option(help="What runs a graph in Triton: cpu (default), cuda, tensorrt.")
    ] = None,
    triton_instances: Annotated[
        int,
        typer.Option(
            parser=count_of("--triton-instances", 1, 64), metavar="N", help="Instances on every GPU, or on the CPU."
        ),
    ] = 1,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say on standard error what is being done.")] = False,
    list_models: Annotated[  # noqa: ARG001
        bool, typer.Option("--list-models", is_eager=True, callback=_list_models, help="List the bundled models.")
    ] = False,
) -> None:
    from defian_edge.calibration.ranges.estimators import RangeMethod
    from defian_edge.export.engine.lowering import Eigen
    from defian_edge.export.options import ExportOptions
    from defian_edge.export.precision import Precision
    from defian_edge.export.precision.int8.recipe import Recipe
    from defian_edge.export.precision.int8.sites import Scope
    from defian_edge.export.rewrites.base import Use
    from defian_edge.export.source.picture import Channels, Order, PictureFormat
    from defian_edge.export.trace.network import Io
    from defian_edge.export.triton.options import TritonOptions

    if verbose:
        show_log()
    device, built = _for_device(device, target, sm, workspace)
    options = ExportOptions(
        out=out,
        precisions=tuple(dict.fromkeys(_choice(Precision, text, "--precision") for text in precision or Precision)),
        picture=PictureFormat(
            input_range,
            _choice(Order, channel_order, "--channel-order"),
            _numbers(mean, "--mean"),
            _numbers(std, "--std"),
            _choice(Channels, channels, "--channels"),
        ),
        scale=scale,
        io=_choice(Io, io, "--io"),
        device=device,
        target=built.target,
        sm=built.sm,
        profile=ShapeProfile.parse(profile),
        calibration=calibration,
        patches=patches,
        recipe=Recipe.of(
            _choice(Scope, int8_scope, "--int8-scope"), _choice(RangeMethod, ranges, "--ranges"), int8_without or ()
        ),
        sensitivity=sensitivity,
        dataset=dataset,
        lr=lr,
        hr=hr,
        max_drift=max_drift,
        eigen=_choice(Eigen, eigen, "--eigen"),
        without=tuple(no_rewrite or ()),
        graph_for=None if graph_for is None else _choice(Use, graph_for, "--graph-for"),
        plain=plain,
        workspace_mib=built.workspace_mib,
        optimisation_level=optimisation_level,
        reference_size=reference_size,
        rewrite_memory=rewrite_memory,
        triton=triton,
        serving=TritonOptions(backend=triton_backend, provider=triton_provider, instances=triton_instances),
        command=shlex.join(["python", "export.py", *sys.argv[1:]]),
    )
    try:
        result = run_and_show(model, options)
    except (KeyboardInterrupt, BrokenPipeError) as error:  # click would make 1 of both
        status = status_of(error) or INTERRUPTED
        if status != NOBODY_READS:
            print("interrupted; nothing was written", file=sys.stderr)
        finish(status)
    if not result.passed:
        raise typer.Exit(1)


def _for_device(
    device: str | None, target: str | None, sm: str | None, workspace: int | None
) -> tuple[str | None, EngineChoice]:
    """The device's name, and what the options say, and where they say nothing what the device needs, which is told."""
    from defian_edge.export.device import EngineChoice, choose
    from defian_edge.export.engine.compiler import Target, parse_sm
    from defian_edge.runtime.hardware.here import device_for, device_here

    given = None if target is None else _choice(Target, target, "--target")
    number = None if sm is None else parse_sm(sm)
    if device is None:
        return None, EngineChoice(given or Target.ONNX, number, workspace, "")
    known = device_for(device)
    choice = choose(known, device_here(), given, number, workspace)
    print(printable(choice.words(known)), flush=True)
    return known.name, choice


def _choice(kind: type[Choice], text: str, option: str) -> Choice:
    try:
        return kind(text)
    except ValueError as error:
        choices = ", ".join(member.value for member in kind)
        raise DefianError(f"{option} {shown(text)}: expected one of {choices}.") from error


def _numbers(text: str | None, option: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    return () if text is None else tuple(number_of(option, -1e6)(each.strip()) for each in text.split(","))


def run_and_show(source: Source, options: ExportOptions) -> ExportResult:
    """Run an export with its progress on standard error, then print its tables."""
    from rich.markup import escape
    from rich.progress import Progress

    from defian_edge.export.engine.progress import BuildProgress
    from defian_edge.export.pipeline import run_export
    from defian_edge.export.summary import show
    from defian_edge.export.terminal import open_console

    console = open_console()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=None)
        result = run_export(
            source,
            options,
            say=lambda text: progress.update(task, description=escape(text)),
            progress=lambda description: BuildProgress(progress, description),
            warn=lambda text: progress.console.print(
                f"[yellow]warning[/yellow] {escape(printable(text))}", soft_wrap=True
            ),
        )
    show(result, options, console)
    return result


def main() -> None:
    """Entry point: 0 done, 1 the drift budget or a guard refused a variant, 2 bad usage or input."""
    raise_if_ended()
    try:
        app()
    except DefianError as error:
        raise_if_ended()
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in FULL:
            raise
        finish(say_full(error))
    except SystemExit as ended:
        raise SystemExit(typers_status(ended)) from None


if __name__ == "__main__":
    main()
