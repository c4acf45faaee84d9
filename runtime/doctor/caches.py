"""The cache of this project: how much it holds, and whether its rights let it be believed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..cache import cache_folder, doubt_about
from .facts import Cache

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LOOKED_AT = 2000
"""Files and folders; where there are more, the diagnosis says so and takes no longer."""
MOST_DOUBTS = 3


def find_cache(folder: Path | None = None) -> Cache:
    """The cache as it is; nothing is written."""
    folder = folder or cache_folder()
    if folder is None:
        return Cache()
    if not folder.is_dir():
        doubt = "it is no folder" if folder.exists() else _why_not_made(folder)
        return Cache(str(folder), there=False, doubts=(f"{folder}: {doubt}",) if doubt else ())
    count, size, more = 0, 0, False
    doubts = [] if os.access(folder, os.W_OK | os.X_OK) else [f"{folder}: this user may not write it"]
    for looked, (path, is_file) in enumerate(_below(folder)):
        if looked == MOST_LOOKED_AT:
            more = True
            break
        try:
            found = path.stat()
        except OSError:
            continue
        if is_file:
            count, size = count + 1, size + found.st_size
        if (doubt := doubt_about(found)) and path != folder:
            doubts.append(f"{path}: {doubt}")
    own = doubt_about(folder.stat())
    first = [f"{folder}: {own}"] if own else []
    told = tuple([*first, *doubts][:MOST_DOUBTS])
    return Cache(str(folder), there=True, files=count, size=size, more=more, doubts=told)


def _below(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Every folder and file, links left out, and whether it is a file; they are looked for one by one."""
    for root, _, names in os.walk(folder):
        yield Path(root), False
        yield from ((path, True) for name in names if not (path := Path(root, name)).is_symlink())


def _why_not_made(folder: Path) -> str:
    above = next(each for each in folder.parents if each.exists())
    return "" if os.access(above, os.W_OK | os.X_OK) else f"it cannot be made: this user may not write {above}"
