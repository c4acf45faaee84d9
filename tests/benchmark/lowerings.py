"""Two engines of one graph: the eigenvalue step as the compiler's own layers, and as the plugin."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from export.engine.build import EngineOptions, build_engine
from export.engine.lowering import Eigen
from runtime.files import sha256_of
from runtime.manifest import read_manifest
from runtime.plugin import PLUGIN_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from export.engine.compiler import Target
    from runtime.profile import ShapeProfile


def both_lowerings(graph: Path, folder: Path, target: Target, sm: int | None, profile: ShapeProfile) -> list[Path]:
    """Build both from the same bytes, as ``--eigen function`` and ``--eigen plugin`` do; manifests beside them."""
    made = []
    for eigen in (Eigen.FUNCTION, Eigen.PLUGIN):
        plugin = eigen is Eigen.PLUGIN
        built = build_engine(graph.read_bytes(), EngineOptions(target, profile, uint8=True, sm=sm, plugin=plugin))
        path = folder / eigen.value / f"{graph.stem}.engine"
        path.parent.mkdir(parents=True)
        path.write_bytes(built.plan)
        manifest = replace(
            read_manifest(graph),
            file=path.name,
            sha256=hashlib.sha256(built.plan).hexdigest(),
            parent_sha256=sha256_of(graph),
            profile=profile,
            engine=built.facts,
            eigen=eigen.value,
            plugins=(PLUGIN_KEY,) if plugin else (),
        )
        manifest.write(path.parent)
        made.append(path)
    return made
