"""A checkpoint's file to its tensors: by content, within limits, and without running anything that lies in it."""

from __future__ import annotations

import codecs
import pickle
import re
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from defian_edge.models.bundled import SUFFIXES
from defian_edge.models.pickled import SAFE_GLOBALS
from defian_edge.runtime.errors import DefianError, MissingPackageError

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 2 << 30
"""Of a file, and of what is packed in it; the paper's large network takes 61 MB, and its training state thrice that."""
MOST_COMPRESSED = 256 << 20
"""Bytes, unpacked, of what is compressed in an archive: a second's work, and no file of torch.save has any."""
_AGAIN = "Copy or download the file again."
_NO_CHECKPOINT = {
    rb"\s*(<!doctype html|<html|<\?xml|<head)": "a web page",
    rb"version https://git-lfs": "a Git LFS pointer, which stands for a file that was not downloaded",
    rb"\s*\{\s*\"(error|message)\"": "a server's error message",
}


def read_tensors(path: Path) -> Any:  # noqa: ANN401 - what a training program has put into it
    """What a checkpoint holds: a dict of tensors for ``.safetensors``, otherwise whatever was saved.

    Raises:
        DefianError: the file is no checkpoint, damaged, larger than the limits, or unpickling it would run code.
    """
    if path.suffix.lower() not in SUFFIXES:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise DefianError(f"{path} has the suffix {path.suffix!r}; a checkpoint has one of {suffixes}.")
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            beginning = stream.read(512)
    except OSError as error:
        raise DefianError(f"Cannot read {path}: {error.strerror}.") from error
    if size > MOST_BYTES:
        raise DefianError(f"{path}: expected at most {MOST_BYTES >> 30} GiB, found {size / (1 << 30):.1f}.")
    for pattern, words in _NO_CHECKPOINT.items():
        if re.match(pattern, beginning.removeprefix(codecs.BOM_UTF8), re.IGNORECASE):
            hint = "Download the checkpoint itself; for Git LFS: git lfs pull"
            raise DefianError(f"{path} is no checkpoint, but {words}.", hint)
    try:
        if _is_safetensors(beginning, size):
            return _read_safetensors(path)
        return _read_pickle(path, beginning)
    except (DefianError, KeyboardInterrupt):
        raise
    except Exception as error:  # a damaged file can make the readers raise anything
        raise _damaged(path, error) from error


def _is_safetensors(beginning: bytes, size: int) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and a JSON object."""
    return 8 < int.from_bytes(beginning[:8], "little") + 8 <= size and beginning[8:9] == b"{"


def _read_pickle(path: Path, beginning: bytes) -> Any:  # noqa: ANN401
    if beginning.startswith(b"PK"):
        _require_bounded(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(SAFE_GLOBALS), path.open("rb") as stream:
            warnings.simplefilter("ignore")
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise DefianError(
                f"{path} was not loaded: beside tensors it holds {refused[1]}, and unpickling that could run code.",
                "Only tensors and plain containers are accepted. Where you trust the file, re-save its weights with "
                "torch.save(state_dict, FILE).",
            ) from error
        raise DefianError(
            f"{path} was not loaded: it is truncated or no plain checkpoint ({_first_line(error)}).", _AGAIN
        ) from error


def _require_bounded(path: Path) -> None:
    """Refuse an archive that is large only when unpacked, before anything of it is."""
    with zipfile.ZipFile(path) as packed:
        entries = packed.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MOST_BYTES:
        size = unpacked / (1 << 30)
        raise DefianError(f"{path}: expected at most {MOST_BYTES >> 30} GiB unpacked, found {size:.1f}.")
    compressed = sum(entry.file_size for entry in entries if entry.compress_type != zipfile.ZIP_STORED)
    if compressed > MOST_COMPRESSED:
        found = f"{compressed / (1 << 20):.0f} MiB that are compressed"
        raise DefianError(
            f"{path}: expected tensors as they are, as torch.save writes them, found {found}.",
            "Save it with torch.save.",
        )


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        import safetensors.torch
    except ImportError as error:
        raise MissingPackageError("safetensors", "export", "Reading a .safetensors checkpoint") from error
    return safetensors.torch.load_file(path, device="cpu")


def _damaged(path: Path, error: Exception) -> DefianError:
    return DefianError(
        f"{path} cannot be read as a checkpoint; it is truncated, damaged or of another format ({_first_line(error)}).",
        _AGAIN,
    )


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {line[:200]}" if line else type(error).__name__
