"""A graph or an engine on disk with the manifest that an export writes beside it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from defian_edge.runtime.manifest import Manifest

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = "python export.py --model tiny"


def write_file(path: Path, content: bytes, **said: Any) -> Path:  # noqa: ANN401 - of a manifest's many types
    """Write a file and its manifest, of the tiny FP32 network at x2 unless ``said`` says something else.

    Args:
        path: of the file, whose folder exists.
        content: of the file.
        said: fields of :class:`defian_edge.runtime.manifest.Manifest`.
    """
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    manifest = Manifest(path.name, digest, "tiny", 2, "fp32", "uint8", "0" * 64, COMMAND)
    replace(manifest, **said).write(path.parent)
    return path
