"""The cache of this project: how much it holds, and whether its rights let it be believed."""

from __future__ import annotations

import os
from pathlib import Path

from ..cache import cache_folder, doubt_about
from .facts import Cache

MOST_FILES = 2000
"""Files that are looked at: a diagnosis takes no longer where there are more."""
MOST_DOUBTS = 3


def find_cache(folder: Path | None = None) -> Cache:
    """The cache as it is; nothing is written."""
    folder = folder or cache_folder()
    if folder is None:
        return Cache()
    if not folder.is_dir():
        doubt = "it is no folder" if folder.exists() else _why_not_made(folder)
        return Cache(str(folder), there=False, doubts=(f"{folder}: {doubt}",) if doubt else ())
    count, size = 0, 0
    doubts = [] if os.access(folder, os.W_OK | os.X_OK) else [f"{folder}: this user may not write it"]
    for root, _, names in os.walk(folder):
        for path in (Path(root), *(Path(root, name) for name in names)):
            if path.is_symlink() or count >= MOST_FILES:
                continue
            try:
                found = path.stat()
            except OSError:
                continue
            if path.name in names:
                count, size = count + 1, size + found.st_size
            if (doubt := doubt_about(found)) and path != folder:
                doubts.append(f"{path}: {doubt}")
    own = doubt_about(folder.stat())
    first = [f"{folder}: {own}"] if own else []
    return Cache(str(folder), there=True, files=count, size=size, doubts=tuple([*first, *doubts][:MOST_DOUBTS]))


def _why_not_made(folder: Path) -> str:
    above = next(each for each in folder.parents if each.exists())
    return "" if os.access(above, os.W_OK | os.X_OK) else f"it cannot be made: this user may not write {above}"
