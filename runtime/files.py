"""Files appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from .errors import DefianError


def write_whole(path: Path, data: bytes, option: str = "--out") -> None:
    """Write to a temporary name in the same folder and rename, so that no reader ever sees half a file.

    ``option`` is the one of the command line that named the path, for the hint.

    Raises:
        DefianError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise DefianError(f"Cannot write {path}: {error.strerror}.", f"Choose another place with {option}.") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise DefianError(
            f"Cannot write {path}: {error.strerror}.", f"Free some space or choose another {option}."
        ) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
