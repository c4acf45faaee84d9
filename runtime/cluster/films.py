"""Films among many workers: cut at key frames, done part by part, and joined by whoever comes first."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..batch import tell_remarks, unfinished_film
from ..errors import DefianError
from ..jobs import Job
from ..resume import RECORDS, Fingerprint
from ..video import upscale_part
from ..video_join import join_film
from ..video_parts import UncutError, parts_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..batch import Batch, Tally, Work
    from ..resume import Resume
    from ..video_parts import Part
    from .messages import Outcome

PARTS = "parts"
"""Folder below that of the records; one folder in it for each film, until the film is whole."""


@dataclass
class CutFilm:
    """A film on its way.

    Attributes:
        job: the film.
        source: the film as it was when it was cut.
        parts: all of them.
        left: indices of those that are not done.
        side_data: what frames said beside their pixels.
    """

    job: Job
    source: Fingerprint
    parts: tuple[Part, ...]
    left: set[int] = field(default_factory=set)
    side_data: set[str] = field(default_factory=set)


def cut_film(job: Job, work: Work, resume: Resume) -> CutFilm | None:
    """The parts of a film; None if it is short, finished, or cannot be read, of which the worker says more.

    Raises:
        UncutError: it has to be done whole.
    """
    if not work.overwrite and resume.is_finished(job):
        return None
    try:
        source = Fingerprint.of(job.source)
        parts = parts_of(job.source)
    except UncutError:
        raise
    except (OSError, DefianError):
        return None
    if len(parts) < 2:
        return None
    if work.overwrite:
        forget_parts(job, parts, work.out, resume)
    return CutFilm(job, source, parts, {part.index for part in parts})


def part_job(job: Job, part: Part, out: Path) -> Job:
    """The job that a part is, for its record."""
    name = hashlib.sha256(os.fsencode(job.target.relative_to(out))).hexdigest()[:32]
    return Job(job.source, out / RECORDS / PARTS / name / part.name(job.target), is_video=True)


def do_part(job: Job, part: Part, source: Fingerprint, batch: Batch, outcome: Outcome) -> None:
    """Upscale a part of a film, unless it is finished.

    Args:
        job: the film.
        part: which part.
        source: the film as it was when it was cut.
        batch: what does it.
        outcome: learns what the frames say beside their pixels.

    Raises:
        DefianError: as ``upscale_part``.
    """
    mine = part_job(job, part, batch.out)
    if batch.resume.is_finished(mine):
        return
    done = upscale_part(batch.session, job.source, mine.target, part, batch.encoding)
    batch.resume.finish(mine, source, done.written)
    outcome.side_data = list(done.side_data)


def do_join(film: CutFilm, batch: Batch, tally: Tally, outcome: Outcome) -> None:
    """Join the parts of a film, and remove them.

    Raises:
        DefianError: as ``join_film``.
    """
    job, start = film.job, time.monotonic()
    parts = [part_job(job, part, batch.out).target for part in film.parts]
    joined = join_film(job.source, parts, job.target, (batch.session.manifest.scale, batch.encoding), film.side_data)
    if joined.losses:
        tally.failures.append(unfinished_film(job, joined))
    else:
        batch.resume.finish(job, film.source, joined.written)
    forget_parts(job, film.parts, batch.out, batch.resume)
    tell_remarks(job, joined.remarks, outcome)
    seconds = time.monotonic() - start
    outcome.say(
        f"{job.source} -> {job.target} ({joined.frames} frames in {len(parts)} parts, joined in {seconds:.1f} s)"
    )
    tally.done += 1


def forget_parts(job: Job, parts: tuple[Part, ...], out: Path, resume: Resume) -> None:
    """Remove the parts of a film and their records."""
    for part in parts:
        resume.forget(part_job(job, part, out))
    folder = part_job(job, parts[0], out).target.parent
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # others are in it, or it is not there
        folder.parent.rmdir()
