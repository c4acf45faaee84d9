"""Measurements of a calibration on disk, found again only for the same graph, photos, preprocessing and method."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.errors import DefianError
from runtime.files import write_whole
from runtime.plugin.binary import cache_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VERSION = 1
"""Part of every key: raise it when what is measured, or how, changes."""


def cache_key(**parts: Any) -> str:  # noqa: ANN401 - anything JSON can write
    """SHA-256 over everything that the measurement depends on; hashes of large things, values of small ones."""
    text = json.dumps({"version": VERSION, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def cache_path(key: str) -> Path:
    """Where the measurements of a key lie."""
    return cache_folder() / "calibration" / f"{key}.npz"


def load(key: str) -> dict[str, np.ndarray] | None:
    """The arrays of a key; None if there are none, or the file is damaged, which is then made anew."""
    path = cache_path(key)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored.items())
    except (OSError, ValueError, EOFError, KeyError):
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
