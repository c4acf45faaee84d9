"""Command line: what to run, for how long, where to. Standard library only, so that it can say what is missing."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shlex
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from defian_edge.runtime.arguments import number_of, path_of, shown
from defian_edge.runtime.entry import carry_out
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import require_writable_folder
from defian_edge.selftest.protocol import Settings
from defian_edge.selftest.report import Report, read_report
from defian_edge.selftest.runner import RESERVE, clear, run_stages
from defian_edge.selftest.table import STAGES, Stage, stage_named

BUDGET = 480.0
"""Seconds that the stages' own limits are meant for; a larger budget gives each of them more in proportion."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with 0, 1 (a number was wrong or a stage broke) or 2 (bad usage)."""
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "selftest", *given])
    carry_out(lambda: _run(_parser().parse_args(given), command), "stopped")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m selftest",
        description="Prove the network, its graphs and its engines on this machine's GPU, stage by stage.",
    )
    parser.add_argument(
        "--budget",
        type=number_of("--budget", 1.0, 1e6, "seconds"),
        default=BUDGET,
        metavar="SECONDS",
        help="for everything (480)",
    )
    parser.add_argument(
        "--out", type=path_of("--out"), default=Path("build/gpu"), metavar="DIR", help="folder for the report"
    )
    parser.add_argument("--stage", action="append", metavar="NAME", help="run only this one; repeatable")
    parser.add_argument("--skip", action="append", default=[], metavar="NAME", help="leave this one out; repeatable")
    parser.add_argument(
        "--add-to", type=path_of("--add-to"), metavar="FILE", help="put the stages into a report written before"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would run and how long it may take")
    parser.add_argument(
        "--set5", type=path_of("--set5"), metavar="DIR", help="folder with HR, LRx2 and LRx4; else bundled photos"
    )
    parser.add_argument(
        "--train-pictures", type=path_of("--train-pictures"), metavar="DIR", help="photos for the stage training"
    )
    parser.add_argument("--commit", default="", metavar="SHA", help="of a copy of the repository without .git")
    parser.add_argument(
        "--graphs", type=path_of("--graphs"), metavar="DIR", help="graphs exported before, with their manifests"
    )
    return parser


def _run(options: argparse.Namespace, command: str) -> int:
    stages = _chosen(options)
    if options.add_to is not None and stages[0].name != STAGES[0].name:
        stages = [STAGES[0], *stages]  # which card this is must be known: a report is of one
    longer = max(1.0, options.budget / BUDGET)
    stages = [replace(stage, limit=round(longer * stage.limit)) for stage in stages]
    folders = [_folder(options, name) for name in ("set5", "train_pictures", "graphs")]
    if options.dry_run:
        for line in _forecast(stages, options.budget):
            _say(line)
        return 0
    require_writable_folder(options.out)
    started = dt.datetime.now().astimezone()
    report = Report(started.isoformat(timespec="seconds"), options.budget, command)
    path = options.out / f"selftest-{started:%Y%m%d-%H%M%S}.json"
    if options.add_to is not None:
        path, earlier = options.add_to, read_report(options.add_to)
        require_writable_folder(path.parent, "--add-to")
        report.outcomes, report.machine = earlier.outcomes, earlier.machine
        report.started, report.command = earlier.started, f"{earlier.command} && {command}"
    work = Path(tempfile.mkdtemp(prefix="selftest-", dir=options.out)).resolve()
    try:
        report.write(path)
        settings = Settings(str(work), folders[0], folders[1], folders[2], options.commit)
        run_stages(stages, settings, report, lambda: report.write(path), _say)
    finally:
        clear(work)
        _say(f"wrote {path}")
    return 1 if report.failed else 0


def _say(line: str) -> None:
    """A line on the terminal; that nobody reads it any more ends no run."""
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _chosen(options: argparse.Namespace) -> list[Stage]:
    for name in [*(options.stage or ()), *options.skip]:
        if stage_named(name) is None:
            raise DefianError(f"No stage {shown(name)}: expected one of {', '.join(stage.name for stage in STAGES)}.")
    wanted = options.stage or [stage.name for stage in STAGES]
    chosen = [stage for stage in STAGES if stage.name in wanted and stage.name not in options.skip]
    if not chosen:
        raise DefianError("No stage is left to run.", "Leave --skip out, or name another --stage.")
    return chosen


def _folder(options: argparse.Namespace, name: str) -> str:
    folder: Path | None = getattr(options, name)
    if folder is None:
        return ""
    if not folder.is_dir():
        raise DefianError(f"--{name.replace('_', '-')} {folder}: expected a folder, found none.")
    return str(folder.resolve())


def _forecast(stages: list[Stage], budget: float) -> list[str]:
    """What would run, with the least and the most seconds of each stage, and where the budget may end."""
    lines, spent = [f"budget {budget:g} s; Python {sys.executable}; {os.cpu_count()} CPU cores"], RESERVE
    for stage in stages:
        left = max(0.0, budget - spent)
        fits = f"{stage.least} to {min(stage.limit, left):.0f} s" if left >= stage.least else "may find no time left"
        lines.append(f"{stage.name:<12} {fits:<22} {stage.title}")
        spent += stage.limit
    return [*lines, f"at most {min(spent, budget):.0f} s in all"]
