"""Which results of an interrupted run can be kept: a record in the output folder says what made them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .jobs import Job

RECORD = ".defian-run.json"


class Resume:
    """Files appear whole, so a result is finished if it is newer than its source and than the record of this engine.

    The record is written once by the first run with these settings, so results of other settings are older than it.

    Args:
        out: the output folder.
        settings: what decides the pixels: the engine's hash, the tiles.
    """

    def __init__(self, out: Path, settings: Mapping[str, object]) -> None:
        self._path = out / RECORD
        self._content = (json.dumps(dict(settings), indent=2, sort_keys=True) + "\n").encode()

    def is_finished(self, job: Job) -> bool:
        """Whether the job's result is there, and made by these settings from the source as it is."""
        try:
            if not self._is_recorded() or not job.target.is_file():
                return False
            made = job.target.stat().st_mtime_ns
            return made >= max(self._path.stat().st_mtime_ns, job.source.stat().st_mtime_ns)
        except OSError:  # doing the job will say what is wrong
            return False

    def begin(self) -> None:
        """Before a result is written: note the settings, unless an earlier run has done so."""
        if not self._is_recorded():
            write_whole(self._path, self._content)

    def _is_recorded(self) -> bool:
        return self._path.is_file() and self._path.read_bytes() == self._content
