"""The checkpoints that come with the package. Needs no torch, so that they can be listed anywhere."""

from __future__ import annotations

from pathlib import Path

from defian_edge.runtime.arguments import path_of, shown
from defian_edge.runtime.errors import DefianError

WEIGHTS = Path(__file__).parent / "weights"
SUFFIXES = frozenset({".pth", ".pt", ".ckpt", ".bin", ".safetensors"})
"""Of checkpoints, in any case; what is in a file is told by its content."""


def bundled_models() -> dict[str, Path]:
    """Name -> file of every bundled checkpoint, sorted by name."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"))}


def resolve_model(model: str) -> Path:
    """The file behind a bundled name or a path.

    Raises:
        DefianError: it is neither; the message lists the bundled names.
    """
    bundled = bundled_models()
    if model in bundled:
        return bundled[model]
    path = path_of("model")(model)
    if path.is_file():
        return path
    raise DefianError(
        f"No model {shown(model)}: expected a bundled name ({', '.join(bundled)}) or the path of a .pth or "
        ".safetensors file."
    )
