"""Unfinished files: under a name of their own, locked while somebody writes them, removed when nobody does.

A run that is killed leaves its unfinished file behind. The kernel drops a dead process's locks, so the next run that
writes into the folder tells the living from the dead by trying the lock, and removes the dead. Where there are no such
locks (Windows, some network file systems) nothing is removed but what a run made itself.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = ".defian-tmp-"
"""Short, so that a result may have the longest name that the file system takes."""


def is_unfinished(name: str) -> bool:
    """Whether a file's name is one that an unfinished result has."""
    return name.startswith(PREFIX)


@contextmanager
def unfinished_file(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """An empty file beside the target, with the target's suffix, to be written and renamed; gone at the end if not.

    The umask takes its share of the mode. Unfinished files of dead runs in the folder are removed first.

    Raises:
        OSError: the folder cannot be made or written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_dead(target.parent)
    path, lock = _create(target, mode)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _create(target: Path, mode: int) -> tuple[Path, int]:
    while True:
        path = target.with_name(f"{PREFIX}{secrets.token_hex(6)}{target.suffix[:12]}")
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            continue
        if _take(lock) and _is_still(path, lock):
            return path, lock
        os.close(lock)  # another run has taken it for a dead one's in the moment before the lock


def _take(lock: int) -> bool:
    """Lock a file without waiting; True as well where the file system knows no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_still(path: Path, lock: int) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_ino == os.fstat(lock).st_ino


def remove_dead(folder: Path) -> None:
    """Remove the unfinished files in a folder that no living process holds."""
    if fcntl is None:
        return
    with suppress(OSError):
        for path in folder.glob(f"{PREFIX}*"):
            _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    with suppress(OSError), held(path, os.O_RDWR | os.O_NOFOLLOW):
        path.unlink()


@contextmanager
def held(path: Path, flags: int) -> Iterator[None]:
    """Holds the lock of an unfinished file or folder that nobody else holds.

    Args:
        path: the file or folder.
        flags: of ``os.open``.

    Raises:
        OSError: it cannot be opened, somebody holds it, or there are no such locks here.
    """
    if fcntl is None:
        raise OSError("this system has no such locks")
    lock = os.open(path, flags)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """One process at a time makes a result; the others wait until it has. The lock goes with its holder, if it dies.

    The lock is an unfinished file of its own beside the result. Where there are no such locks, nobody waits.

    Raises:
        OSError: the folder cannot be written.
    """
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    path = target.with_name(f"{PREFIX}{digest}.lock")
    lock = _wait_for(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(lock)


def _wait_for(path: Path) -> int:
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if fcntl is None or not _locks(lock) or _is_still(path, lock):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # its holder has removed it: the next one is another file


def _locks(lock: int) -> bool:
    """Wait for a lock; False at once where the file system knows none."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        return False
    return True
