"""Open whatever ``export.py`` built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.errors import DefianError
from runtime.onnx_session import OnnxSession

if TYPE_CHECKING:
    from pathlib import Path


def open_session(path: Path, provider: str = "cpu") -> OnnxSession:
    """The session that fits the file.

    Raises:
        DefianError: the file has no manifest, does not fit it, or is of a kind that this version does not run.
    """
    if path.suffix == ".onnx":
        return OnnxSession(path, provider)
    raise DefianError(
        f"{path.name}: expected an .onnx graph, found {path.suffix or 'no suffix'}.",
        "Engines are built by export.py and run with trtexec or TensorRT; this runtime runs the graphs for now.",
    )
