"""Command line of the trainer. Heavy packages are imported when the work starts, so that --help is quick."""

# Every parameter is an option of the command line.
# ruff: noqa: FBT002, PLR0913, PLR0917

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

from defian_edge.runtime.arguments import count_of, number_of, path_of
from defian_edge.runtime.entry import printable, typers_status
from defian_edge.runtime.errors import DefianError, MissingPackageError

BEGUN = time.monotonic()
"""Minutes count from here, as near to the process's start as this program can see."""

try:
    import typer
    from rich.console import Console
except ImportError as error:  # the base installation runs on devices and has neither
    raise MissingPackageError("typer", "export", "python -m tools.train") from error

if TYPE_CHECKING:
    from tools.train.stopping import Asked

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help="Train a DeFiAN on a folder of pictures; docs/training.md says how and what comes out.")
def train(
    context: typer.Context,
    scale: Annotated[int, typer.Option(help="2, 3 or 4.")],
    out: Annotated[
        Path,
        typer.Option(
            parser=path_of("--out"), metavar="PATH", help="Folder for weights, checkpoint, log, plot and summary."
        ),
    ],
    pictures: Annotated[
        Path | None,
        typer.Option(
            parser=path_of("--pictures"),
            metavar="PATH",
            help="Folder of HR pictures, searched recursively. Only --benchmark does without.",
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="S, L, or CHANNELSxBLOCKSxMODULES.")] = "S",
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so many, start and end of the program included.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(parser=count_of("--steps", 1, 1_000_000_000), metavar="N", help="Stop after so many steps."),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(parser=path_of("--init"), metavar="PATH", help="Weights to start from, of this scale or another."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            parser=count_of("--batch", 1, 65_536), metavar="N", help="Patches a step. Default: 16 on a GPU, 8 on a CPU."
        ),
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option(
            parser=count_of("--patch", 8, 4_096),
            metavar="N",
            help="Side of an LR patch. Default: 64 on a GPU, 32 on a CPU.",
        ),
    ] = None,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 5e-4,
    warm_up: Annotated[
        int,
        typer.Option(parser=count_of("--warm-up", 0, 1_000_000_000), metavar="N", help="Steps until it is reached."),
    ] = 200,
    seed: Annotated[
        int,
        typer.Option(
            parser=count_of("--seed", 0, 4_294_967_295), metavar="N", help="Of first weights, patches and turns."
        ),
    ] = 0,
    lr_filter: Annotated[
        str, typer.Option(help="What makes LR: pillow, or matlab (imresize's antialiased bicubic).")
    ] = "pillow",
    holdout: Annotated[
        int | None,
        typer.Option(
            parser=count_of("--holdout", 0, 1_000_000),
            metavar="N",
            help="Pictures kept from training to validate. Default: every twentieth.",
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(parser=path_of("--validation"), metavar="PATH", help="Folder of HR pictures to validate on."),
    ] = None,
    lr_pictures: Annotated[
        Path | None,
        typer.Option(
            parser=path_of("--lr-pictures"), metavar="PATH", help="Folder of LR pictures, with --hr-pictures."
        ),
    ] = None,
    hr_pictures: Annotated[
        Path | None,
        typer.Option(parser=path_of("--hr-pictures"), metavar="PATH", help="Folder of HR pictures of the same names."),
    ] = None,
    validations: Annotated[
        int,
        typer.Option(
            parser=count_of("--validations", 0, 1_000_000),
            metavar="N",
            help="How many in all; fewer if they take too long.",
        ),
    ] = 11,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="bf16 or fp32 convolutions. Default: bf16 where the hardware has it.")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="torch.compile; docs/training.md says why not by default.")
    ] = False,
    triton: Annotated[
        bool, typer.Option(help="On a GPU, hand-written kernels where Triton is installed and their results are right.")
    ] = True,
    compile_seconds: Annotated[
        float, typer.Option(help="At most, for these, a level of compiling, and capturing; then training does without.")
    ] = 60.0,
    graph: Annotated[bool, typer.Option(help="On a GPU, make a step one CUDA graph.")] = True,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="On a GPU too, the same bits each time; slower.")
    ] = False,
    save_seconds: Annotated[float | None, typer.Option(help="Between checkpoints. Default: 30 or 60.")] = None,
    json: Annotated[
        Path | None, typer.Option(parser=path_of("--json"), metavar="PATH", help="A second file for the summary.")
    ] = None,
    benchmark: Annotated[
        float | None,
        typer.Option(
            parser=number_of("--benchmark", 0.001, 1e6, "seconds"),
            metavar="SECONDS",
            help="Train nothing: measure steps for so many seconds, write benchmark.json.",
        ),
    ] = None,
) -> None:
    from tools.train.device import computes_in_bf16, device_named
    from tools.train.options import ON_CPU, ON_GPU, TrainOptions

    chosen = device_named(device)
    default = ON_GPU if chosen.type == "cuda" else ON_CPU
    options = TrainOptions(
        scale=scale,
        size=size,
        pictures=pictures,
        out=out,
        minutes=minutes,
        steps=1 if benchmark is not None and minutes is None and steps is None else steps,
        batch=default.batch if batch is None else batch,
        patch=default.patch if patch is None else patch,
        rate=rate,
        warm_up=warm_up,
        seed=seed,
        lr_filter=lr_filter,
        holdout=holdout,
        precision=precision or ("bf16" if computes_in_bf16(chosen) else "fp32"),
        compiled=compiled,
        triton=triton,
        compile_seconds=compile_seconds,
        deterministic=deterministic,
        graph=graph,
        init=init,
        resume=resume,
        validation=validation,
        lr_pictures=lr_pictures,
        hr_pictures=hr_pictures,
        validations=validations,
        save_seconds=default.save_seconds if save_seconds is None else save_seconds,
        json=json,
        command=shlex.join(["python", "-m", "tools.train", *sys.argv[1:]]),
    )
    if benchmark is not None:
        from tools.train.benchmark import measure

        _show(measure(options, chosen, benchmark, _say))
        return
    from tools.train.run import train as run

    asked: Asked = context.obj
    summary = run(options, chosen, BEGUN, _say, asked)
    _show(summary)
    if asked.number is not None and not summary["finished"]:
        raise typer.Exit(128 + asked.number)


def _say(text: str) -> None:
    print(f"[{time.monotonic() - BEGUN:6.1f} s] {text}", file=sys.stderr, flush=True)


def _show(summary: dict[str, Any]) -> None:
    """The summary as a table on standard output."""
    from rich.table import Table

    table = Table("figure", "value")
    for name, value in summary.items():
        if name != "command":
            table.add_row(name.replace("_", " "), _words(value))
    Console().print(table)


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with 0, 2 (bad usage or input), 130 or 143 (stopped by SIGINT or SIGTERM)."""
    from tools.train.limits import descendants, end_all
    from tools.train.stopping import StoppedError, stop_on_signals

    try:
        with stop_on_signals() as asked:
            app(args=arguments, obj=asked)
    except DefianError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(2)
    except StoppedError as stopped:
        end_all(descendants(os.getpid()))  # workers of a compiler, for which the exit would wait
        print(f"{stopped}; what was saved before stays as it is", file=sys.stderr, flush=True)
        os._exit(stopped.status)  # a library may be in the middle of something that a tidy exit waits for
    except SystemExit as ended:
        raise SystemExit(typers_status(ended)) from None
