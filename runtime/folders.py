"""The files below a folder, links followed once, and what could not be looked into."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .temporary import is_unfinished

NO_PHOTOS = ("._",)
"""Beginnings of names that macOS gives to what it keeps beside a file on foreign disks."""


@dataclass(frozen=True)
class Below:
    """What lies below a folder.

    Attributes:
        files: in the order of their paths.
        unreadable: folders that may not be looked into.
        no_files: how many names are of no file that holds anything for us: links to nothing, pipes, macOS's ``._name``.
    """

    files: tuple[Path, ...]
    unreadable: tuple[Path, ...]
    no_files: int = 0


def files_below(folder: Path) -> Below:
    """All files below a folder, those of linked folders included, each folder once; unfinished results are none."""
    files: list[Path] = []
    unreadable: list[Path] = []
    seen: set[str] = set()
    no_files = 0

    def note(error: OSError) -> None:
        unreadable.append(Path(os.fsdecode(error.filename)))

    for place, folders, names in os.walk(folder, onerror=note, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in names:
            path = Path(place, name)
            if path.is_file() and not name.startswith(NO_PHOTOS):
                files += [] if is_unfinished(name) else [path]
            else:
                no_files += 1
    return Below(tuple(sorted(files, key=lambda path: path.parts)), tuple(sorted(unreadable)), no_files)
