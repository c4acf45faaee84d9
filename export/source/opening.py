"""The network of an export from whatever there is: a bundled name, a file, a module that is loaded already."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from defian_edge.export.source.base import SourceNetwork
from defian_edge.export.source.defian import DefianNetwork
from defian_edge.export.source.module import open_module
from defian_edge.export.source.onnx_graph import GRAPH_SUFFIX, open_graph
from defian_edge.export.source.picture import PictureFormat
from defian_edge.export.source.published import open_published
from defian_edge.models.checkpoint import Checkpoint
from defian_edge.models.opening import open_checkpoint
from defian_edge.models.wrapped import OTHER_NETWORK
from defian_edge.runtime.arguments import path_of, shown
from defian_edge.runtime.errors import DefianError

PLAIN = PictureFormat()
"""RGB in [0, 1]."""
Source = str | Path | torch.nn.Module | Checkpoint | SourceNetwork
"""What :func:`open_source` takes."""
ANOTHER = (
    "Of another architecture: pip install 'defian-edge[spandrel]', which loads most published ones, or give it as an "
    ".onnx file."
)
DEFIAN = "input.weight", "body.0.body_block.0."
"""How keys of a DeFiAN end or go on, behind whatever prefix; no other network is known to have both."""


def open_source(source: Source, picture: PictureFormat = PLAIN, scale: int | None = None) -> SourceNetwork:
    """The network behind a bundled name or a path, or in memory.

    Args:
        source: bundled name; a DeFiAN checkpoint; an ONNX graph or a module of any architecture.
        picture: what a network other than DeFiAN takes for a picture.
        scale: that is expected; None for any.

    Raises:
        DefianError: there is no such file, it is damaged, it is no super-resolution network, or one of another scale.
    """
    network = _opened(source, picture, scale)
    if scale is not None and network.scale != scale:
        raise DefianError(f"{network.name}: expected a network of scale {scale}, found one of {network.scale}.")
    if picture != PLAIN and isinstance(network, DefianNetwork):
        raise DefianError(
            f"{network.name} is a DeFiAN, of which what it takes for a picture is known.",
            "Leave --input-range, --channel-order, --channels, --mean and --std out.",
        )
    return network


def _opened(source: Source, picture: PictureFormat, scale: int | None) -> SourceNetwork:
    if isinstance(source, SourceNetwork):
        return source
    if isinstance(source, torch.nn.Module) and not _is_defian(source):
        return open_module(source, picture, scale)
    if isinstance(source, (str, Path)) and str(source).lower().endswith(GRAPH_SUFFIX):
        path = path_of("model")(str(source))
        if not path.is_file():
            raise DefianError(f"No ONNX graph at {shown(str(source))}.")
        return open_graph(path, picture)
    try:
        return DefianNetwork(open_checkpoint(source))
    except DefianError as error:
        if not isinstance(source, (str, Path)) or error.hint != OTHER_NETWORK:
            raise
        if importlib.util.find_spec("spandrel") is None:
            raise DefianError(error.message, f"{error.hint} {ANOTHER}") from error
        return open_published(path_of("model")(str(source)), picture, scale)


def _is_defian(module: torch.nn.Module) -> bool:
    keys = list(module.state_dict())
    return any(key.endswith(DEFIAN[0]) for key in keys) and any(DEFIAN[1] in key for key in keys)
