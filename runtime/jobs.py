"""Which files are upscaled into which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.errors import DefianError
from runtime.images import SUFFIXES
from runtime.temporary import is_unfinished
from runtime.video import KEPT_CONTAINERS, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True)
class Job:
    """A photo or video, and the file it becomes."""

    source: Path
    target: Path

    @property
    def is_video(self) -> bool:
        """Whether the source is a video, by its suffix."""
        return self.source.suffix.lower() in VIDEO_SUFFIXES


def plan_jobs(inputs: Iterable[Path], out: Path) -> list[Job]:
    """Every photo and video with its target; folders are searched, and their structure is kept.

    Results in an ``out`` that lies below a folder are no sources, nor is what an interrupted run has left of a video.

    Raises:
        DefianError: an input is missing, a folder holds nothing, or two sources would become the same file.
    """
    jobs: list[Job] = []
    for source in inputs:
        if source.is_dir():
            jobs += [Job(path, _target(path, out / path.relative_to(source))) for path in _media_in(source, out)]
        elif source.is_file():
            jobs.append(Job(source, _target(source, out / source.name)))
        else:
            raise DefianError(f"No photo, video or folder at {source}.")
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.target in seen:
            raise DefianError(
                f"{seen[job.target]} and {job.source} would both become {job.target}.", "Use two --out folders."
            )
        if job.target.resolve() == job.source.resolve():
            raise DefianError(f"{job.source} would be overwritten by its own result.", "Choose another --out folder.")
        seen[job.target] = job.source
    return jobs


def _target(source: Path, place: Path) -> Path:
    suffix = source.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        return place.with_suffix(".png")
    return place.with_suffix(suffix if suffix in KEPT_CONTAINERS else ".mkv")


def _media_in(folder: Path, out: Path) -> list[Path]:
    wanted = SUFFIXES | VIDEO_SUFFIXES
    root, results = folder.resolve(), out.resolve()
    below = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in wanted and path.is_file()]
    paths = []
    for path in below:
        place = path.relative_to(folder)
        is_result = not root.is_relative_to(results) and (root / place).is_relative_to(results)
        if not is_result and not is_unfinished(path.name):
            paths.append(path)
    if not paths:
        raise DefianError(f"No photo or video below {folder}: expected files ending in {', '.join(sorted(wanted))}.")
    return paths
