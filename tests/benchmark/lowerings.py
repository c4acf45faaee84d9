"""Two engines of one graph: the eigenvalue step as the compiler's own layers, and as the plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.engine.build import EngineOptions
from defian_edge.export.engine.lowering import Eigen
from defian_edge.selftest.building import write_engine

if TYPE_CHECKING:
    from pathlib import Path

    from defian_edge.export.engine.compiler import Target
    from defian_edge.runtime.profile import ShapeProfile


def both_lowerings(graph: Path, folder: Path, target: Target, sm: int | None, profile: ShapeProfile) -> list[Path]:
    """Build both from the same bytes, as ``--eigen function`` and ``--eigen plugin`` do; manifests beside them."""
    return [
        write_engine(
            graph,
            folder / eigen.value / f"{graph.stem}.engine",
            EngineOptions(target, profile, uint8=True, sm=sm, plugin=eigen is Eigen.PLUGIN),
        )
        for eigen in (Eigen.FUNCTION, Eigen.PLUGIN)
    ]
