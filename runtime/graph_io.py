"""What goes into a graph and comes out of it, held against its manifest when the graph is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DefianError

if TYPE_CHECKING:
    from .manifest import Manifest

PROBE = (1, 3, 5)
"""Batch, height and width of the picture that is upscaled on opening; not square, so that turned axes show."""


def require_one_picture(session: Any, manifest: Manifest) -> None:  # noqa: ANN401 - an InferenceSession
    """Refuse a graph that does not take one uint8 RGB picture [N, H, W, 3] and give one [N, sH, sW, 3].

    What the graph declares is looked at; sizes that it leaves open are for ``require_scale``.

    Raises:
        DefianError: with what was expected and what was found.
    """
    sides = [list(session.get_inputs()), list(session.get_outputs())]
    for what, tensors in zip(("input", "output"), sides, strict=True):
        good = len(tensors) == 1 and tensors[0].type == "tensor(uint8)" and len(tensors[0].shape) == 4
        channels = tensors[0].shape[3] if good else 3
        if not good or (isinstance(channels, int) and channels != 3):
            found = ", ".join(f"{each.name} {each.type} {list(each.shape)}" for each in tensors) or "none"
            raise _refusal(manifest, f"one {what}, tensor(uint8) [N, H, W, 3]", found)
    shape, result = sides[0][0].shape, sides[1][0].shape
    expected = [shape[0], *(_times(side, manifest.scale) for side in shape[1:3]), 3]
    for wanted, found in zip(expected, result, strict=True):
        if isinstance(wanted, int) and isinstance(found, int) and wanted != found:
            raise _refusal(manifest, f"{expected} from {list(shape)} at scale {manifest.scale}", str(list(result)))


def require_scale(session: Any, manifest: Manifest) -> None:  # noqa: ANN401
    """Upscale one small picture and look at the size of the result, which a graph may leave open.

    Raises:
        DefianError: the graph does not run, or its result is not ``scale`` times as large.
    """
    [tensor] = session.get_inputs()
    batch, height, width = (
        declared if isinstance(declared, int) else size for declared, size in zip(tensor.shape[:3], PROBE, strict=True)
    )
    picture = np.zeros((batch, height, width, 3), np.uint8)
    picture[:, ::2] = 200
    try:
        result = np.asarray(session.run(None, {tensor.name: picture})[0])
    except Exception as error:  # ONNX Runtime raises its own exception types, which share no other base
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DefianError(f"{manifest.file} does not run at {batch}x{height}x{width}: {said}") from error
    require_size(picture, result, manifest)


def require_size(images: np.ndarray, upscaled: np.ndarray, manifest: Manifest) -> None:
    """Refuse a result that is not ``scale`` times as large as what went in.

    Raises:
        DefianError: with both shapes.
    """
    batch, height, width, _ = images.shape
    expected = (batch, manifest.scale * height, manifest.scale * width, 3)
    if upscaled.shape != expected or upscaled.dtype != np.uint8:
        found = f"{upscaled.dtype} {list(upscaled.shape)}"
        wanted = f"uint8 {list(expected)} from {list(images.shape)} at scale {manifest.scale}"
        raise _refusal(manifest, wanted, found)


def _times(side: object, scale: int) -> object:
    return side * scale if isinstance(side, int) else side


def _refusal(manifest: Manifest, expected: str, found: str) -> DefianError:
    return DefianError(
        f"{manifest.file} is not the graph that its manifest describes: expected {expected}, found {found}.",
        f"Copy graph and manifest again, or rebuild them: {manifest.command}",
    )
