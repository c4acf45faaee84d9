"""Which results of an earlier run can be kept: each has a record of what it was made from, and by what."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .files import Written, sha256_of, write_whole
from .json_values import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .jobs import Job

RECORDS = ".defian-run"
"""Folder of the records, in the output folder; one file for each result, so that two runs never share one."""
SCHEMA = 2


@dataclass(frozen=True)
class Fingerprint:
    """One state of one file.

    Attributes:
        path: absolute, links followed.
        size: bytes.
        modified, changed: nanoseconds; the second changes with the first and cannot be set back by a program.
        number: the file system's number of the file.
        sha256: of the bytes.
    """

    path: str
    size: int
    modified: int
    changed: int
    number: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """The file as it is; reads it once.

        Raises:
            OSError: it is missing or cannot be read.
        """
        found = path.stat()
        return cls._from(path, found, sha256_of(path))

    @classmethod
    def _from(cls, path: Path, found: os.stat_result, sha256: str) -> Fingerprint:
        place = os.path.realpath(path)
        return cls(place, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, sha256)

    def still_describes(self, path: Path) -> bool:
        """Whether the file at a path is this one: by all that its folder says of it, or else by its bytes.

        Raises:
            OSError: the file is missing or cannot be read.
        """
        found = path.stat()
        if found.st_size != self.size:
            return False
        return Fingerprint._from(path, found, self.sha256) == self or sha256_of(path) == self.sha256


class Resume:
    """The records of an output folder.

    A result is finished if the source that is there now, the engine and the options are those of its record, and the
    result itself is whole: the bytes that were recorded. Records are written whole and after their result. So a run
    that is killed in between leaves a record that does not fit, as do two runs that write one result in turns: the job
    is done again.

    Args:
        out: the output folder.
        settings: what decides the pixels: the engine's hash, the tiles, the provider.
        of_videos: what decides the result of a video beside them: how it is encoded.
    """

    def __init__(
        self, out: Path, settings: Mapping[str, object], of_videos: Mapping[str, object] | None = None
    ) -> None:
        self._out = out
        self._settings = json.loads(json.dumps(dict(settings)))
        self._of_videos = json.loads(json.dumps(dict(of_videos or {})))

    def is_finished(self, job: Job) -> bool:
        """Whether the job's result is there, whole, and made by these settings from the source as it is."""
        try:
            record = parse_json(self._path(job).read_bytes())
            if record["schema"] != SCHEMA or record["settings"] != self._settings_of(job):
                return False
            source, result = Fingerprint(**record["source"]), Written(**record["result"])
            return _is_whole(result, job.target) and source.still_describes(job.source)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ):  # none, or none of ours; doing the job says more
            return False

    def finish(self, job: Job, source: Fingerprint, written: Written) -> None:
        """Record a result, unless its source has changed while it was made.

        Args:
            job: what was done.
            source: its source, as it was before it was read.
            written: the result.

        Raises:
            DefianError: the record cannot be written.
        """
        try:
            if not source.still_describes(job.source):
                return
        except OSError:
            return
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "name": str(self._name(job)),
            "source": asdict(source),
            "settings": self._settings_of(job),
            "result": asdict(written),
        }
        write_whole(self._path(job), (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())

    def forget(self, job: Job) -> None:
        """Remove a job's record, if there is one."""
        self._path(job).unlink(missing_ok=True)

    def _settings_of(self, job: Job) -> dict[str, Any]:
        return self._settings | self._of_videos if job.is_video else self._settings

    def _name(self, job: Job) -> Path:
        return job.target.relative_to(self._out)

    def _path(self, job: Job) -> Path:
        return self._out / RECORDS / f"{hashlib.sha256(os.fsencode(self._name(job))).hexdigest()[:32]}.json"


def _is_whole(result: Written, target: Path) -> bool:
    found = target.stat()
    if found.st_size != result.size:
        return False
    same = (found.st_mtime_ns, found.st_ino) == (result.modified, result.number)
    return same or sha256_of(target) == result.sha256
