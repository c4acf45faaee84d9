"""Measurements of a calibration on disk, found again only for the same graph, photos, preprocessing and method."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import write_whole
from defian_edge.runtime.plugin.binary import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def cache_key(sources: Iterable[Path], **parts: Any) -> str:  # noqa: ANN401 - anything JSON can write
    """SHA-256 over everything that a measurement depends on.

    Args:
        sources: paths of the source files that measure; another version of them never finds the old measurements.
        parts: hashes of large things, values of small ones.
    """
    code = [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources]
    return hashlib.sha256(json.dumps({"code": code, **parts}, sort_keys=True).encode()).hexdigest()


def cache_path(key: str) -> Path:
    """Where the measurements of a key lie."""
    return cache_folder() / "calibration" / f"{key}.npz"


def load(key: str) -> dict[str, np.ndarray] | None:
    """The arrays of a key; None if there are none, or the file is damaged, which is then made anew."""
    path = cache_path(key)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored.items())
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def store(key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays under a key. A folder that cannot be written is not an error: the next run measures again."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    path = cache_path(key)
    try:
        write_whole(path, buffer.getvalue())
    except DefianError:
        return
