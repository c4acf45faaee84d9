"""Files appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import FULL, DefianError
from .temporary import unfinished_file

if TYPE_CHECKING:
    from pathlib import Path


class DiskFullError(DefianError):
    """There is no space left for a result, nor for any that follows."""


@dataclass(frozen=True)
class Written:
    """A file as it was written, whatever another process renames over it later.

    Attributes:
        size: bytes.
        modified: nanoseconds.
        number: the file system's number of the file.
        sha256: of the bytes.
    """

    size: int
    modified: int
    number: int
    sha256: str


def write_whole(path: Path, data: bytes, option: str = "--out", mode: int = 0o666) -> Written:
    """Write to a temporary name in the same folder and rename, so that no reader ever sees half a file.

    The bytes are on the disk before the name is, so that neither a crash nor a loss of power leaves half a file.
    ``option`` is the one of the command line that named the path, for the hint; of ``mode`` the umask
    takes its share.

    Raises:
        DiskFullError: there is no space left.
        DefianError: the folder cannot be written.
    """
    try:
        with unfinished_file(path, mode) as unfinished:
            with unfinished.open("wb") as stream:
                stream.write(data)
            return rename_whole(unfinished, path)
    except OSError as error:
        raise cannot_write(path, error, option) from error


def rename_whole(unfinished: Path, target: Path) -> Written:
    """Give a finished file its name once its bytes are on the disk.

    Raises:
        OSError: the disk is full, or the target is a folder.
    """
    with unfinished.open("rb") as stream:
        os.fsync(stream.fileno())
        found = os.fstat(stream.fileno())
    written = Written(found.st_size, found.st_mtime_ns, found.st_ino, sha256_of(unfinished))
    unfinished.replace(target)
    with suppress(OSError):  # Windows opens no folders, some file systems sync none
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return written


def cannot_write(path: Path, error: OSError, option: str = "--out") -> DefianError:
    """What to say of a file that could not be written: it is the disk's fault, or the place's."""
    if error.errno in FULL:
        return DiskFullError(f"Cannot write {path}: {error.strerror}.", f"Free some space, or choose another {option}.")
    return DefianError(f"Cannot write {path}: {error.strerror}.", f"Choose another place with {option}.")


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def require_writable_file(path: Path, option: str, hint: str = "") -> None:
    """Prove that a file can be written, before any long work starts.

    Args:
        path: the file; its folder is created.
        option: of the command line that named it.
        hint: what to do if it is a folder.

    Raises:
        DefianError: it is a folder, or its folder cannot be created or written.
    """
    if path.is_dir():
        raise DefianError(f"{option} {path}: expected a file, found a folder.", hint)
    require_writable_folder(path.parent, option)


def require_writable_folder(folder: Path, option: str = "--out") -> None:
    """Create the folder and prove that a file can be made there, before any long work starts.

    ``option`` is the one of the command line that named it, for the hint.

    Raises:
        DefianError: it is a file, or cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DefianError(
            f"The output folder {folder} cannot be written: {error.strerror}.", f"Choose another folder with {option}."
        ) from error
