"""What is kept between runs: only for this user, and believed only if it is this user's and whole.

Kernels and ranges from a cache decide what runs and what a picture looks like. So folders are 0700 and files 0600, a
file that another user owns or may write is not read, and each begins with a digest of its name and content, so that one
that was renamed is none. What is not believed is made anew, and that is said.
"""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from pathlib import Path

from .errors import DefianError
from .files import write_whole

VARIABLE = "DEFIAN_CACHE"
KIND = b"defian-cache "
MAGIC = KIND + b"2\n"
FOLDER_MODE, FILE_MODE = 0o700, 0o600
_FOREIGN = stat.S_IWGRP | stat.S_IWOTH


class CacheWarning(UserWarning):
    """Something in the cache was not believed, and is made anew."""


def cache_folder() -> Path | None:
    """``$DEFIAN_CACHE``, else ``$XDG_CACHE_HOME/defian-edge``, else ``~/.cache/defian-edge``; None without a home."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen)
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "defian-edge"
    try:
        return Path.home() / ".cache" / "defian-edge"
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return None


def read_cached(path: Path) -> bytes | None:
    """The content that was kept under a path; None if nothing of this version is there.

    What cannot be believed is None as well, with a warning.
    """
    try:
        with path.open("rb") as stream:
            why = doubt_about(os.fstat(stream.fileno())) or doubt_about(path.parent.stat())
            kept = b"" if why else stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        why, kept = str(error.strerror).lower(), b""
    head = len(MAGIC) + hashlib.sha256().digest_size
    content = kept[head:]
    if not why and kept.startswith(KIND) and not kept.startswith(MAGIC):
        return None  # another version's, whole or not
    if not why and kept[:head] != _head(path, content):
        why = "it is damaged, or was renamed"
    if why:
        disbelieve(path, why)
        return None
    return content


def disbelieve(path: Path, why: str) -> None:
    """Warn that something in the cache is not believed."""
    warnings.warn(f"{path} is not used, but made anew: {why}.", CacheWarning, stacklevel=3)


def keep(path: Path, content: bytes) -> None:
    """Keep content under a path; a cache that cannot be written costs time, not the run."""
    try:
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if doubt_about(path.parent.stat()):  # of an earlier version, or made by hand; another user's does not let us
            path.parent.chmod(FOLDER_MODE)
        write_whole(path, _head(path, content) + content, mode=FILE_MODE)
    except (DefianError, OSError):
        return


def _head(path: Path, content: bytes) -> bytes:
    return MAGIC + hashlib.sha256(os.fsencode(path.name) + b"\0" + content).digest()


def doubt_about(found: os.stat_result) -> str:
    """Why a file or folder may be somebody else's; empty if it is ours alone, or the system knows no users."""
    if not hasattr(os, "geteuid"):
        return ""
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    return "others may write it" if found.st_mode & _FOREIGN else ""
