"""Which files are upscaled into which."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .errors import DefianError
from .folders import files_below
from .images import SUFFIXES, series_kind
from .media import VIDEO_SUFFIXES, is_medium, is_video
from .series import KINDS
from .video_encoder import MATROSKA, Encoding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from .shards import Shard


MOST_BYTES = 255
"""Of a file's name, on the file systems of Linux; others take as many letters or more."""


@dataclass(frozen=True)
class Job:
    """A photo or video, and the file it becomes; of several pages or frames Pillow's name of their format as well."""

    source: Path
    target: Path
    is_video: bool = False
    series: str = ""


@dataclass
class Plan:
    """What is to be done.

    Attributes:
        jobs: in the order of the inputs.
        no_media: how many files of the folders are neither photo nor video, and are left.
        unreadable: folders that may not be looked into.
        elsewhere: how many files are in other shards.
    """

    jobs: list[Job] = field(default_factory=list)
    no_media: int = 0
    unreadable: list[Path] = field(default_factory=list)
    elsewhere: int = 0


def plan_jobs(inputs: Iterable[Path], out: Path) -> list[Job]:
    """The jobs of ``plan``."""
    return plan(inputs, out).jobs


def plan(inputs: Iterable[Path], out: Path, encoding: Encoding | None = None, shard: Shard | None = None) -> Plan:
    """Every photo and video with its target; folders are searched, and their structure is kept.

    Results in an ``out`` that lies below a folder are no sources, nor is what an interrupted run has left of a video. A
    file that is named twice is done once. Where several files of a folder differ only in their suffix, results keep it:
    ``cat.jpg`` beside ``cat.png`` becomes ``cat.jpg.png``, ``cat`` becomes ``cat_.png``; too long a name is cut.
    A video keeps its container if that takes the encoding. Of a shard's files alone more is read than the name.

    Raises:
        DefianError: an input is missing, the folders hold nothing, or two sources would become the same file.
    """
    made = Plan()
    places: list[tuple[Path, Path]] = []
    for source in inputs:
        if source.is_dir():
            places += [(path, out / path.relative_to(source)) for path in _media_in(source, out, made)]
        elif source.is_file():
            places.append((source, out / source.name))
        else:
            raise DefianError(f"No photo, video or folder at {source}.")
    once: dict[tuple[str, str], tuple[Path, Path]] = {}
    folders: dict[str, str] = {}
    for source, place in places:
        once.setdefault(_real(source, folders), (source, place))
    mine = [each for each in once.values() if shard is None or shard.owns(each[1].relative_to(out))]
    made.elsewhere = len(once) - len(mine)
    kept = (encoding or Encoding()).encoder.containers
    jobs = [_job(source, place, kept) for source, place in mine]
    jobs = _distinct(jobs, [place for _, place in mine])
    made.jobs = [replace(job, target=_short_enough(job.target)) for job in jobs]
    _require_distinct(made.jobs)
    return made


def _real(path: Path, folders: dict[str, str]) -> tuple[str, str]:
    """Folder and name of what a path leads to; ``folders`` keeps those that were looked up."""
    folder, name = os.path.split(path)
    if path.is_symlink():
        return os.path.split(os.path.realpath(path))
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return folders[folder], name


def _job(source: Path, place: Path, kept: Collection[str]) -> Job:
    suffix, video = source.suffix.lower(), is_video(source)
    if not video:
        series = series_kind(source)
        suffixes = KINDS.get(series, (".png",))
        return Job(source, place.with_suffix(suffix if suffix in suffixes else suffixes[0]), series=series)
    return Job(source, place.with_suffix(suffix if suffix in kept else MATROSKA), is_video=True)


def _distinct(jobs: list[Job], places: list[Path]) -> list[Job]:
    """Results that would have one name keep their sources' suffix, but for the one whose source has that name."""
    taken = Counter(job.target for job in jobs)
    return [
        replace(job, target=place.with_name(f"{place.name}{'' if place.suffix else '_'}{job.target.suffix}"))
        if taken[job.target] > 1 and place != job.target
        else job
        for job, place in zip(jobs, places, strict=True)
    ]


def _short_enough(target: Path) -> Path:
    """The target; where its name is too long with the suffix that it got, a shorter one, which no other target has."""
    whole = os.fsencode(target.name)
    if len(whole) <= MOST_BYTES:
        return target
    mark = f"~{hashlib.sha256(whole).hexdigest()[:8]}"
    stem = target.stem
    while len(os.fsencode(f"{stem}{mark}{target.suffix}")) > MOST_BYTES:
        stem = stem[:-1]
    return target.with_name(f"{stem}{mark}{target.suffix}")


def _require_distinct(jobs: list[Job]) -> None:
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.target in seen:
            raise DefianError(
                f"{seen[job.target]} and {job.source} would both become {job.target}.", "Use two --out folders."
            )
        if job.target.resolve() == job.source.resolve():
            raise DefianError(f"{job.source} would be overwritten by its own result.", "Choose another --out folder.")
        seen[job.target] = job.source


def _media_in(folder: Path, out: Path, made: Plan) -> list[Path]:
    root, results = folder.resolve(), out.resolve()
    has_results = results != root and results.is_relative_to(root)
    below = files_below(folder)
    made.unreadable += below.unreadable
    made.no_media += below.no_files
    paths = []
    for path in below.files:
        if has_results and (root / path.relative_to(folder)).is_relative_to(results):
            continue
        if is_medium(path):
            paths.append(path)
        else:
            made.no_media += 1
    if not paths and not below.unreadable:
        wanted = ", ".join(sorted(SUFFIXES | VIDEO_SUFFIXES))
        raise DefianError(f"No photo or video below {folder}: expected files ending in {wanted}.")
    return paths
