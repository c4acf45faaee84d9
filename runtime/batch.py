"""Upscale a list of photos and videos: what is finished is left, what fails is told, the rest is done."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

from .entry import raise_if_ended
from .errors import DefianError
from .files import DiskFullError
from .images import read_image, read_photo, write_png
from .progress import ProgressBar
from .quality import Quality, compare, original_of
from .resume import Fingerprint, Resume
from .upscale_series import upscale_series
from .video import upscale_video
from .video_encoder import Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .interface import Session
    from .jobs import Job
    from .opening import Opening
    from .video import Film

IN_TILES = "not quite the result in one piece (docs/runtime.md, Tiles)"


class Teller(Protocol):
    """Whoever is told what becomes of a job: a terminal with a bar, or a message to another machine."""

    def say(self, text: str, stream: TextIO | None = None) -> None:
        """A line for standard output, or for the stream that is named."""
        ...


@dataclass
class Tally:
    """What became of the files; of the frames how many there were, and how many are suspicious."""

    done: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)
    frames: int = 0
    suspicious: int = 0


@dataclass(frozen=True)
class Work:
    """What a command line asks for, beside the files; it can be sent to another machine and be done there.

    Attributes:
        opening: how the session is opened.
        out: the output folder.
        overwrite: do finished files again.
        originals: file or folder to compare photos with; None for no comparison.
        encoding: how videos are encoded.
    """

    opening: Opening
    out: Path
    overwrite: bool = False
    originals: Path | None = None
    encoding: Encoding = field(default_factory=Encoding)

    def batch(self, session: Session) -> Batch:
        """What does it, with the session that was opened for it."""
        return Batch(
            session, self.resume(session.manifest.sha256), self.out, self.overwrite, self.originals, self.encoding
        )

    def resume(self, sha256: str) -> Resume:
        """The records of its results; ``sha256`` is the engine's."""
        of_videos = {"codec": self.encoding.codec, **self.encoding.options()}
        return Resume(self.out, self.opening.settings(sha256), of_videos)


@dataclass
class Batch:
    """How a list of jobs is done.

    Attributes:
        session: what upscales.
        resume: the records of earlier results.
        out: the output folder.
        overwrite: do finished files again.
        originals: file or folder to compare photos with; None for no comparison.
        encoding: how videos are encoded.
    """

    session: Session
    resume: Resume
    out: Path
    overwrite: bool = False
    originals: Path | None = None
    encoding: Encoding = field(default_factory=Encoding)

    def run(self, jobs: Sequence[Job], *, alone: bool = False) -> Tally:
        """Do all jobs; one that fails does not stop the others.

        Args:
            jobs: what to do.
            alone: the one job is the one file that was asked for, so that its failure is the command's.

        Raises:
            DiskFullError: no other result would fit either.
            DefianError: the one file that was asked for failed.
        """
        tally = Tally()
        with ProgressBar(len(jobs)) as bar:
            for job in jobs:
                raise_if_ended()
                error = self.attempt(job, tally, bar)
                if alone and error is not None:
                    raise error
                bar.step()
        tally.frames, tally.suspicious = self.session.guard.frames, self.session.guard.suspicious
        return tally

    def attempt(self, job: Job, tally: Tally, bar: Teller) -> DefianError | None:
        """Do a job, or leave it if it is finished; a failure is put on the tally and returned.

        Raises:
            DiskFullError: no other result would fit either.
        """
        try:
            self._do(job, tally, bar)
        except DiskFullError:
            raise
        except DefianError as error:
            raise_if_ended()
            tally.failures.append(f"{job.source}: {error}")
            return error
        return None

    def _do(self, job: Job, tally: Tally, bar: Teller) -> None:
        if not self.overwrite and self.resume.is_finished(job):
            tally.skipped += 1
        else:
            bar.say(self._upscale(job, tally, bar))
            tally.done += 1
        if self.originals is not None and not job.is_video:
            original = original_of(job.target, self.originals, self.out, self.session.manifest.scale)
            quality = compare(read_image(job.target), original, self.session.manifest.scale)
            tally.qualities.append(quality)
            bar.say(f"{job.target}: {quality}")

    def _upscale(self, job: Job, tally: Tally, bar: Teller) -> str:
        """Do one job; returns what to print."""
        try:
            source = Fingerprint.of(job.source)
        except OSError as error:
            raise DefianError(f"Cannot read {job.source}: {error.strerror}.") from error
        if job.is_video:
            said = self._video(job, source, tally, bar)
        else:
            said = self._series(job, source, bar) if job.series else self._photo(job, source, bar)
        return f"{job.source} -> {job.target} ({said})"

    def _photo(self, job: Job, source: Fingerprint, bar: Teller) -> str:
        start = time.monotonic()
        photo = read_photo(job.source)
        image = photo.pixels
        cut = self.session.cut
        upscaled = self.session(image[None])[0]
        seconds = time.monotonic() - start
        self.resume.finish(job, source, write_png(job.target, upscaled, photo))
        tiles = ""
        tiling = self.session.tiling
        if tiling is not None and self.session.cut > cut:
            tiles = f", {tiling.count(*image.shape[:2])} tiles of {tiling}: {IN_TILES}"
        remarks = [f"{photo.left_out} of {photo.left_out + 1} pages or frames left out"] if photo.left_out else []
        tell_remarks(job, (*remarks, *photo.remarks), bar)
        return f"{upscaled.shape[1]}x{upscaled.shape[0]}, {seconds:.2f} s{tiles}"

    def _series(self, job: Job, source: Fingerprint, bar: Teller) -> str:
        start, cut = time.monotonic(), self.session.cut
        with ProgressBar(None) as frames:
            made = upscale_series(self.session, job.source, job.target, job.series, frames.step)
        self.resume.finish(job, source, made.written)
        tell_remarks(job, made.remarks, bar)
        return f"{made.frames} pages or frames, {time.monotonic() - start:.2f} s{self._in_tiles(cut)}"

    def _video(self, job: Job, source: Fingerprint, tally: Tally, bar: Teller) -> str:
        start = time.monotonic()
        cut = self.session.cut
        with ProgressBar(None) as frames:
            film = upscale_video(self.session, job.source, job.target, frames.step, self.encoding)
        seconds = time.monotonic() - start
        if film.losses:
            tally.failures.append(unfinished_film(job, film))
        else:
            self.resume.finish(job, source, film.written)
        tell_remarks(job, film.remarks, bar)
        return f"{film.frames} frames, {film.frames / seconds:.1f}/s{self._in_tiles(cut)}"

    def _in_tiles(self, before: int) -> str:
        if self.session.cut == before:
            return ""
        return f", {self.session.cut - before} of them in tiles of {self.session.tiling}: {IN_TILES}"


def tell_remarks(job: Job, remarks: Sequence[str], bar: Teller) -> None:
    """Say what a result has otherwise than its source."""
    for remark in remarks:
        bar.say(f"note {job.source}: {remark}", sys.stderr)


def unfinished_film(job: Job, film: Film) -> str:
    """What is said of a film that lacks something."""
    whole = f"not all of it came out: {'; '.join(film.losses)}. {job.target} holds the rest"
    return f"{job.source}: {whole}, and counts as unfinished."
