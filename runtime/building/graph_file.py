"""The graph that an engine was built from, beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..files import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..manifest import Manifest


def graph_beside(path: Path, manifest: Manifest) -> Path | None:
    """The graph that the engine was built from, known by its hash; None if it is not in the engine's folder."""
    if not manifest.parent_sha256:
        return None
    return next((each for each in sorted(path.parent.glob("*.onnx")) if _is(each, manifest.parent_sha256)), None)


def _is(graph: Path, sha256: str) -> bool:
    try:
        return sha256_of(graph) == sha256
    except OSError:
        return False
