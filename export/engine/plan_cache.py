"""What the compiler planned for a graph, kept for the next export: planning takes seconds a rewrite, and no GPU."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from defian_edge.export.engine import build, kernels
from defian_edge.export.engine.kernels import Traffic
from defian_edge.runtime.cache import cache_folder, keep, read_cached

if TYPE_CHECKING:
    from defian_edge.export.engine.build import EngineOptions

FOLDER = "plans"
PACKAGE = "tensorrt-rtx"
SOURCES = (build, kernels)
"""What decides how a plan is asked for and read: a change of theirs makes every plan anew."""


def plan_path(graph: bytes, options: EngineOptions) -> Path | None:
    """Where the plan of a graph is kept: by the graph, the options, the compiler's version and the code that reads it.

    None where there is no cache.
    """
    folder = cache_folder()
    if folder is None:
        return None
    digest = hashlib.sha256(graph)
    for source in SOURCES:
        digest.update(Path(str(source.__file__)).read_bytes())
    digest.update(f"{options!r} {PACKAGE} {version(PACKAGE)}".encode())
    return folder / FOLDER / f"{digest.hexdigest()[:32]}.json"


def read_plan(place: Path | None) -> tuple[int | None, Traffic | None] | None:
    """Activation bytes and traffic that were kept; None if there is nothing that can be believed."""
    kept = None if place is None else read_cached(place)
    if kept is None:
        return None
    try:
        said = json.loads(kept)
        traffic = said["traffic"]
        return said["activation_bytes"], None if traffic is None else Traffic(traffic["kernels"], traffic["bytes"])
    except (ValueError, KeyError, TypeError):
        return None


def keep_plan(place: Path | None, activation: int | None, traffic: Traffic | None) -> None:
    """Keep what was planned."""
    if place is not None:
        moved = None if traffic is None else {"kernels": traffic.kernels, "bytes": traffic.bytes}
        keep(place, json.dumps({"activation_bytes": activation, "traffic": moved}).encode())
