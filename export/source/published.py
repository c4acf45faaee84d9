"""A checkpoint of a published architecture that is no DeFiAN, loaded by the package ``spandrel``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from defian_edge.export.source.module import Named, open_module
from defian_edge.export.source.sizes import one_line
from defian_edge.runtime.errors import DefianError, MissingPackageError
from defian_edge.runtime.files import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from defian_edge.export.source.foreign import ForeignNetwork
    from defian_edge.export.source.picture import PictureFormat

EXTRA = "spandrel"


def open_published(path: Path, picture: PictureFormat, scale: int | None = None) -> ForeignNetwork:
    """Load a checkpoint with spandrel, which tells the architecture by the keys and runs no code in the file.

    Args:
        path: the file.
        picture: what the network takes for a picture; spandrel's are RGB in [0, 1].
        scale: that is expected; None for the one that spandrel says.

    Raises:
        MissingPackageError: spandrel is not installed.
        DefianError: spandrel cannot be imported, or does not know the architecture, it is of no super-resolution
            network, of one of square pictures alone, or of another scale.
    """
    try:
        from spandrel import ImageModelDescriptor, ModelLoader  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        if error.name != EXTRA:
            raise _unusable(path, error) from error
        raise MissingPackageError(EXTRA, EXTRA, f"{path.name} is no DeFiAN; loading another architecture") from error
    except Exception as error:  # torchvision of another torch raises RuntimeError
        raise _unusable(path, error) from error
    try:
        found: Any = ModelLoader().load_from_file(path)
    except Exception as error:  # spandrel's own, and what an architecture's constructor raises
        raise DefianError(f"spandrel cannot load {path}: {one_line(error)}", "Export it to ONNX yourself.") from error
    if not isinstance(found, ImageModelDescriptor) or not isinstance(found.model, nn.Module):
        raise DefianError(f"{path}: expected a network from picture to picture, found {type(found).__name__}.")
    channels = (found.input_channels, found.output_channels)
    if channels != (picture.count,) * 2:
        raise DefianError(
            f"{path}: expected a network of {picture.count} channels ({picture}), found {found.architecture.name} "
            f"from {channels[0]} to {channels[1]}."
        )
    sizes = found.size_requirements
    if sizes.square:
        raise DefianError(
            f"{path}: expected a network that takes pictures of any shape, found {found.architecture.name}, which "
            "takes squares alone.",
            "Export it to ONNX at one size yourself.",
        )
    named = Named(
        path.stem,
        sha256_of(path),
        "spandrel",
        found.architecture.name,
        sizes.multiple_of,
        max(sizes.minimum, 1),
        found.tiling.name.lower(),
    )
    return open_module(found.model, picture, scale or found.scale, named)


def _unusable(path: Path, error: Exception) -> DefianError:
    return DefianError(
        f"{path.name} is no DeFiAN, and spandrel, which loads other architectures, cannot be imported: "
        f"{one_line(error)}",
        f"It needs the torchvision that was built for this torch, {torch.__version__}; or export the network to ONNX.",
    )
