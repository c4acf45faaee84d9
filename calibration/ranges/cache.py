"""Measurements of a calibration on disk, found again only for the same graph, photos, preprocessing and method."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.runtime.cache import cache_folder, disbelieve, keep, read_cached

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


def cache_path(key: str) -> Path | None:
    """Where the measurements of a key lie; None where there is no place for a cache."""
    folder = cache_folder()
    return None if folder is None else folder / "calibration" / f"{key}.npz"


def load(key: str) -> dict[str, np.ndarray] | None:
    """The arrays of a key; None if there are none, or if they cannot be believed, which is warned of."""
    path = cache_path(key)
    content = None if path is None else read_cached(path)
    if content is None:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = dict(stored.items())
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return disbelieved(key, "it holds no arrays")
    if not all(np.isfinite(each).all() for each in arrays.values() if each.dtype.kind in "fc"):
        return disbelieved(key, "it holds what is no finite number")
    return arrays


def disbelieved(key: str, why: str) -> None:
    """Warn that what is kept under a key is not believed, and is measured anew."""
    path = cache_path(key)
    if path is not None:
        disbelieve(path, why)


def store(key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays under a key. A folder that cannot be written is not an error: the next run measures again."""
    path = cache_path(key)
    if path is not None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        keep(path, buffer.getvalue())
