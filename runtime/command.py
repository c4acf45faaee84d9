"""Command line of the runtime: ``python -m runtime INPUT... --engine FILE --out DIR``, and ``... verify ENGINE...``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import numpy as np

from .arguments import choice_of, count_of, number_of, path_of
from .backends import CHECKS, PROVIDERS
from .batch import Tally, Work
from .cluster.options import add_cluster_options, cluster_of
from .entry import asks_for, carry_out, printable
from .errors import DefianError
from .files import require_writable_folder
from .first_size import first_size
from .jobs import plan
from .log import add_verbose
from .opening import Opening
from .quality import Quality, require_scikit_image
from .shards import Shard
from .tiling import DEFAULT_OVERLAP
from .video_encoder import ENCODERS, Encoding, require_encoder

if TYPE_CHECKING:
    from .jobs import Job

VERIFY = "verify"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exits with 0, 1 (a file failed or a frame is suspicious), 2 (bad usage or input), 130 (interrupted), 143
    (terminated) or 141 (nobody reads its output).
    """
    given = sys.argv[1:] if arguments is None else arguments
    if asks_for(VERIFY, given):
        from .verify.command import main as verify

        verify(given[1:])
    carry_out(lambda: _run(_parser().parse_args(given)), "interrupted; the same command goes on where it stopped")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runtime",
        description="Upscale photos and videos with an exported network.",
        epilog="python -m runtime verify ENGINE... holds engines against PyTorch's pictures; python -m runtime doctor "
        "[ENGINE] says what is wrong with this device. Both have their own --help.",
    )
    parser.add_argument(
        "inputs", nargs="+", type=path_of("INPUT"), metavar="INPUT", help="photos, videos, or folders of them"
    )
    parser.add_argument(
        "--engine", required=True, type=path_of("--engine"), help="a .onnx or .engine file built by export.py"
    )
    parser.add_argument("--out", required=True, type=path_of("--out"), help="folder for the results")
    provider = choice_of("--provider", sorted(PROVIDERS))
    parser.add_argument(
        "--provider", type=provider, metavar="NAME", help="cpu, cuda or tensorrt: what runs a .onnx file; default cpu"
    )
    parser.add_argument(
        "--tile",
        default="auto",
        help="HxW: cut images into tiles; auto: only those too large for the engine or the memory; off",
    )
    overlap = count_of("--overlap", 0, 50_000, "LR pixels")
    parser.add_argument("--overlap", type=overlap, default=DEFAULT_OVERLAP, help="LR pixels that neighbours share")
    parser.add_argument(
        "--compare", type=path_of("--compare"), metavar="HR", help="original photo or folder: print PSNR and SSIM"
    )
    codec = choice_of("--video-codec", ENCODERS)
    parser.add_argument(
        "--video-codec",
        type=codec,
        metavar="NAME",
        default=Encoding.codec,
        help=f"FFmpeg's encoder of videos: {', '.join(ENCODERS)}; default {Encoding.codec}",
    )
    quality = number_of("--crf", 0, max(each.worst for each in ENCODERS.values()), "a quality")
    parser.add_argument("--crf", type=quality, metavar="N", help="its constant quality; less is better and larger")
    parser.add_argument("--preset", metavar="NAME", help="how much time it takes, such as slow, or p7 for NVENC")
    parser.add_argument(
        "--shard",
        type=Shard.parse,
        metavar="I/N",
        help="do the I-th of N shares of the files, counted from 0; the others are for other machines",
    )
    add_cluster_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="do finished files again")
    parser.add_argument("--no-cuda-graphs", action="store_true", help="run engines eagerly")
    parser.add_argument(
        "--check",
        type=choice_of("--check", CHECKS),
        metavar="WHEN",
        help=f"{', '.join(CHECKS)}: hold engines against a picture of PyTorch's; default once",
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="build an engine of another TensorRT version, for another GPU, or whose profile takes neither the first "
        "picture nor tiles of it, again from the graph beside it",
    )
    add_verbose(parser)
    return parser


def _run(options: argparse.Namespace) -> int:
    encoding = Encoding(options.video_codec, options.crf, options.preset)
    cluster = cluster_of(options)
    planned = plan(options.inputs, options.out, encoding, options.shard)
    jobs = planned.jobs
    if options.shard is not None:
        print(f"shard {options.shard}: {len(jobs)} of {len(jobs) + planned.elsewhere} files")
    if cluster is None and any(job.is_video for job in jobs):
        require_encoder(encoding)
    if options.compare is not None:
        require_scikit_image()
        if not options.compare.exists():
            raise DefianError(f"--compare: expected an original or a folder of originals, found no {options.compare}.")
    require_writable_folder(options.out)
    alone = options.shard is None and len(jobs) == 1 and options.inputs == [jobs[0].source]
    work = Work(_opening(options, jobs), options.out, options.overwrite, options.compare, encoding)
    if cluster is None:
        tally = _here(work, jobs, alone=alone)
    else:
        from .cluster.run import run_on_ray

        tally = run_on_ray(work, jobs, cluster, options.inputs, alone=alone)
    _report(tally, len(jobs))
    for folder in planned.unreadable:
        print(f"{printable(folder)}: this folder cannot be read.", file=sys.stderr)
    if planned.no_media:
        print(f"left, since they are neither photo nor video by name: {planned.no_media}")
    if tally.suspicious:
        print(
            f"{tally.suspicious} of {tally.frames} frames came out black or white, in whole or in a patch, and should "
            "not.",
            file=sys.stderr,
        )
    return 1 if tally.failures or planned.unreadable or tally.suspicious else 0


def _here(work: Work, jobs: list[Job], *, alone: bool) -> Tally:
    """Do all jobs in this process."""
    with work.opening.open() as session:
        print(printable(session.describe()))
        return work.batch(session).run(jobs, alone=alone)


def _opening(options: argparse.Namespace, jobs: list[Job]) -> Opening:
    return Opening(
        options.engine,
        options.provider,
        options.tile,
        options.overlap,
        cuda_graphs=not options.no_cuda_graphs,
        check=options.check,
        rebuild=options.rebuild,
        first=first_size(jobs) if options.rebuild else None,
    )


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
        print(printable(failure), file=sys.stderr)
    if tally.failures:
        print(f"{len(tally.failures)} of {total} files failed", file=sys.stderr)
