"""Command line of the runtime: ``python -m runtime INPUT... --engine FILE --out DIR``, and ``... verify ENGINE...``."""

from __future__ import annotations

import argparse
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .engine.options import CHECKS, RunOptions
from .errors import DefianError
from .files import require_writable_folder
from .images import read_image, write_png
from .jobs import Job, plan_jobs
from .onnx_session import PROVIDERS
from .progress import ProgressBar
from .quality import Quality, compare, original_of, require_scikit_image
from .resume import Resume
from .session import open_session
from .tiles import DEFAULT_OVERLAP, TiledSession, Tiling, tiles_that_fit
from .video import import_av, upscale_video

if TYPE_CHECKING:
    from .interface import Session

VERIFY = "verify"
IN_TILES = "not quite the result in one piece (docs/runtime.md, Tiles)"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exits with 0, 1 (a file failed or a frame is suspicious), 2 (bad usage or input) or 130 (interrupted).
    """
    given = sys.argv[1:] if arguments is None else arguments
    if _asks_to_verify(given):
        from .verify.command import main as verify

        verify(given[1:])
    options = _parser().parse_args(given)
    try:
        sys.exit(_run(options))
    except DefianError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)


def _asks_to_verify(given: list[str]) -> bool:
    """``verify`` comes first, and is no folder of that name to be upscaled, which takes an ``--engine``."""
    return given[:1] == [VERIFY] and not any(each.startswith("--engine") for each in given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runtime",
        description="Upscale photos and videos with an exported network.",
        epilog="python -m runtime verify ENGINE... holds engines against PyTorch's pictures; it has its own --help.",
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="photos, videos, or folders of them")
    parser.add_argument("--engine", required=True, type=Path, help="a .onnx or .engine file built by export.py")
    parser.add_argument("--out", required=True, type=Path, help="folder for the results")
    parser.add_argument("--provider", choices=sorted(PROVIDERS), help="what runs a .onnx file; default cpu")
    parser.add_argument(
        "--tile", default="auto", help="HxW: cut images into tiles; auto: only those too large for the engine; off"
    )
    parser.add_argument("--overlap", type=int, default=DEFAULT_OVERLAP, help="LR pixels that neighbouring tiles share")
    parser.add_argument("--compare", type=Path, metavar="HR", help="original photo or folder: print PSNR and SSIM")
    parser.add_argument("--overwrite", action="store_true", help="do finished files again")
    parser.add_argument("--no-cuda-graphs", action="store_true", help="run engines eagerly")
    parser.add_argument(
        "--check", choices=CHECKS, default="once", help="hold engines against a picture of PyTorch's; default once"
    )
    return parser


@dataclass
class Tally:
    """What became of the files."""

    done: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)


def _run(options: argparse.Namespace) -> int:
    jobs = plan_jobs(options.inputs, options.out)
    if any(job.is_video for job in jobs):
        import_av()
    if options.compare is not None:
        require_scikit_image()
    require_writable_folder(options.out)
    with _session(options) as session:
        print(session.describe())
        tally = _upscale_all(session, jobs, options)
        suspicious, frames = session.guard.suspicious, session.guard.frames
    _report(tally, len(jobs))
    if suspicious:
        print(
            f"{suspicious} of {frames} frames came out black or white, in whole or in a patch, and should not.",
            file=sys.stderr,
        )
    return 1 if tally.failures or suspicious else 0


def _session(options: argparse.Namespace) -> Session:
    tile: str = options.tile
    if tile not in {"auto", "off"} and not re.fullmatch(r"\d{1,5}x\d{1,5}", tile):
        raise DefianError(f"--tile {tile}: expected auto, off, or a size such as 192x192.")
    if options.provider is not None and options.engine.suffix != ".onnx":
        raise DefianError(
            f"--provider {options.provider}: expected a graph (.onnx), found the engine {options.engine.name}.",
            "Leave --provider out: TensorRT runs an engine. Or give the .onnx file.",
        )
    run = RunOptions(cuda_graphs=not options.no_cuda_graphs, check=options.check)
    session = open_session(options.engine, options.provider or "cpu", run)
    try:
        if tile == "off" or (tile == "auto" and session.profile is None):
            return session
        if tile == "auto":
            return TiledSession(session, tiles_that_fit(session.profile, options.overlap), always=False)
        height, width = map(int, tile.split("x"))
        return TiledSession(session, Tiling(height, width, options.overlap))
    except BaseException:
        session.close()
        raise


def _upscale_all(session: Session, jobs: list[Job], options: argparse.Namespace) -> Tally:
    tally = Tally()
    settings = {"engine": session.manifest.sha256, "tile": options.tile, "overlap": options.overlap}
    resume = Resume(options.out, settings)
    with ProgressBar(len(jobs)) as bar:
        for job in jobs:
            try:
                if not options.overwrite and resume.is_finished(job):
                    tally.skipped += 1
                else:
                    bar.say(_upscale(session, job, resume))
                    tally.done += 1
                if options.compare is not None and not job.is_video:
                    _compare(session, job, options, tally, bar)
            except DefianError as error:
                if options.inputs == [job.source]:
                    raise
                tally.failures.append(f"{job.source}: {error}")
            bar.step()
    return tally


def _upscale(session: Session, job: Job, resume: Resume) -> str:
    """Do one job; returns what to print."""
    start = time.monotonic()
    cut = session.cut if isinstance(session, TiledSession) else 0
    if job.is_video:
        resume.begin()
        with ProgressBar(None) as bar:
            frames = upscale_video(session, job.source, job.target, bar.step)
        seconds = time.monotonic() - start
        tiles = ""
        if isinstance(session, TiledSession) and session.cut > cut:
            tiles = f", {session.cut - cut} of them in tiles of {session.tiling}: {IN_TILES}"
        return f"{job.source} -> {job.target} ({frames} frames, {frames / seconds:.1f}/s{tiles})"
    image = read_image(job.source)
    upscaled = session(image[None])[0]
    seconds = time.monotonic() - start
    resume.begin()
    write_png(job.target, upscaled)
    tiles = ""
    if isinstance(session, TiledSession) and session.cut > cut:
        count = session.tiling.count(*image.shape[:2])
        tiles = f", {count} tiles of {session.tiling}: {IN_TILES}"
    return f"{job.source} -> {job.target} ({upscaled.shape[1]}x{upscaled.shape[0]}, {seconds:.2f} s{tiles})"


def _compare(session: Session, job: Job, options: argparse.Namespace, tally: Tally, bar: ProgressBar) -> None:
    original = original_of(job.target, options.compare, options.out)
    quality = compare(read_image(job.target), original, session.manifest.scale)
    tally.qualities.append(quality)
    bar.say(f"{job.target}: {quality}")


def _report(tally: Tally, total: int) -> None:
    if tally.qualities:
        mean = Quality(
            float(np.mean([quality.psnr for quality in tally.qualities])),
            float(np.mean([quality.ssim for quality in tally.qualities])),
        )
        print(f"mean of {len(tally.qualities)}: {mean}")
    if tally.skipped:
        print(f"{tally.skipped} of {total} were finished already (--overwrite does them again)")
    for failure in tally.failures:
        print(failure, file=sys.stderr)
    if tally.failures:
        print(f"{len(tally.failures)} of {total} files failed", file=sys.stderr)


if __name__ == "__main__":
    main()
