"""Puts a training together, runs it and sums it up."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import torch

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import require_writable_folder, write_whole
from defian_edge.runtime.images import images_in
from tools.train.clock import Clock
from tools.train.device import Runner, set_up, words
from tools.train.journal import Journal
from tools.train.loop import Loop
from tools.train.patches import PatchBank
from tools.train.pictures import named_pairs, read_pictures
from tools.train.roofline import measure_ceilings, work_of
from tools.train.saved import TRAINING_FILE, first_network, load_training
from tools.train.step import Step
from tools.train.stopping import Stop, never
from tools.train.validation import Validator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.train.options import TrainOptions
    from tools.train.pictures import Pictures

SUMMARY = "summary.json"
PREPARING = 0.25
"""Of the minutes that are left, at most, for compiling."""


def train(
    options: TrainOptions, device: torch.device, begun: float, say: Callable[[str], None], stop: Stop = never
) -> dict[str, Any]:
    """Train and return the summary that was written.

    Args:
        options: what to do.
        device: where.
        begun: when the process began, on the monotonic clock: minutes count from there.
        say: prints a line.
        stop: asked behind every few steps; training then ends with everything saved.

    Raises:
        DefianError: options, pictures, checkpoints or the output folder cannot be used.
    """
    architecture = options.architecture()
    folder = _require_inputs(options)
    require_writable_folder(options.out)
    if not options.resume and (options.out / TRAINING_FILE).exists():
        raise DefianError(
            f"There is a training in {options.out} already.", "Go on with it by --resume, or choose another --out."
        )
    set_up(options)
    network, new = first_network(architecture, options.seed, options.init)
    if new:
        say(f"{options.init} has another scale: {', '.join(new)} begin from its sub-pixels")
    pictures = _pictures(folder, options, say)
    named = named_pairs(options.scale, options.validation, options.lr_pictures, options.hr_pictures)
    bank = PatchBank(pictures.training, options.scale, options.patch, device)
    saved = load_training(options.out, options, bank.sha256) if options.resume else None
    validator = Validator(
        {**named, **({"held_out": pictures.held_out} if pictures.held_out else {})}, architecture, device
    )
    say(
        f"{architecture} on {words(device)}: {len(pictures.training)} pictures ({bank.bytes / 1e6:.0f} MB), "
        f"{len(pictures.held_out)} held out, ready after {time.monotonic() - begun:.1f} s"
    )
    step = Step(network, bank, options.batch, device, bf16=options.precision == "bf16")
    runner = Runner(step, options, say)
    earlier = saved.seconds if saved is not None else 0.0
    deadline = None if options.minutes is None else begun + options.minutes * 60.0 - earlier
    runner.prepare(None if deadline is None else PREPARING * max(0.0, deadline - time.monotonic()))
    say(f"compiling and warming up took {runner.compile_seconds:.1f} s, capturing {runner.capture_seconds:.1f} s")
    clock = Clock(deadline, options.validations)
    journal = Journal(options.out, saved.step if saved is not None else 0)
    loop = Loop(options, runner, clock, validator, journal, say)
    if saved is not None:
        loop.resume(saved)
    journal.note(step=loop.step, began=_identity(options, device), remarks=[*pictures.remarks, *runner.remarks])
    ceilings = measure_ceilings(device, bf16=options.precision == "bf16")
    bound = ceilings.seconds(
        work_of(architecture, options.batch, options.patch, 2 if options.precision == "bf16" else 4)
    )
    if deadline is not None:  # once in vain: what takes long the first time must not do so at the end
        clock.plot_seconds = journal.plot(options.out)
    loop.run(begun, stop)
    each = clock.trained_seconds / max(1, clock.trained_steps)
    journal.plot(options.out)
    summary = {
        "steps": loop.step,
        "finished": not loop.stopped,
        "images_per_second": round(options.batch / each, 2) if each else None,
        "step_milliseconds": round(each * 1e3, 3),
        "roofline_share": round(bound / each, 4) if each else None,
        "ceilings": {"teraflops": ceilings.operations / 1e12, "gigabytes_per_second": ceilings.bytes / 1e9},
        "seconds": round(loop.seconds(begun), 2),
        "compile_seconds": round(runner.compile_seconds, 2),
        "capture_seconds": round(runner.capture_seconds, 2),
        "psnr": loop.psnr,
        "skipped_steps": int(step.state.skipped),
        "pictures": len(pictures.training),
        "pictures_sha256": bank.sha256,
        "computed_by": runner.computed_by,
        "remarks": runner.remarks,
        **_identity(options, device),
    }
    journal.note(step=loop.step, summary=summary)
    content = (json.dumps(summary, indent=2) + "\n").encode()
    for path in (options.out / SUMMARY, *([options.json] if options.json else [])):
        write_whole(path, content)
    return summary


def _require_inputs(options: TrainOptions) -> Path:
    """Refuse what is not there before a folder is made; gives the folder of pictures to train on."""
    if options.init is not None and not options.init.is_file():
        raise DefianError(f"No checkpoint at {options.init}.", "Give the path of a .pth or .safetensors file.")
    if options.pictures is None:
        raise DefianError("Expected --pictures.", "Give a folder of HR pictures to train on.")
    for folder in (options.pictures, options.validation, options.lr_pictures, options.hr_pictures):
        if folder is not None:
            images_in(folder)
    return options.pictures


def _pictures(folder: Path, options: TrainOptions, say: Callable[[str], None]) -> Pictures:
    """Read them and tell which were left out."""
    pictures = read_pictures(folder, options.scale, options.patch, options.lr_filter, options.holdout)
    for remark in pictures.remarks:
        say(f"WARNING: {remark}")
    return pictures


def _identity(options: TrainOptions, device: torch.device) -> dict[str, Any]:
    return {
        **options.identity(),
        "device": words(device),
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "init": str(options.init) if options.init else None,
        "command": options.command,
    }
