"""Training pictures, decoded once and kept in memory: which are used, held out, or left out and why."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.calibration.photos import EvaluationPair, evaluation_pairs
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import images_in, read_image
from tools.train.resampling import lr_and_hr

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


HOLDOUT_STEP = 20


@dataclass(frozen=True)
class Pictures:
    """What a training sees.

    Attributes:
        training: pairs of LR [H, W, 3] and HR [sH, sW, 3], uint8 RGB, in path order.
        held_out: pairs that validate.
        remarks: a sentence for every picture that was left out.
    """

    training: tuple[EvaluationPair, ...]
    held_out: tuple[EvaluationPair, ...]
    remarks: tuple[str, ...]


def read_pictures(folder: Path, scale: int, patch: int, lr_filter: str, holdout: int | None) -> Pictures:
    """Decode all pictures below a folder on all cores, in path order.

    Args:
        folder: searched recursively.
        scale: of the network.
        patch: side of an LR patch; a picture whose LR is smaller is left out.
        lr_filter: what makes LR, of :data:`tools.train.resampling.FILTERS`.
        holdout: how many pictures are kept from training, evenly over the folder, to validate; None: every twentieth.

    Raises:
        DefianError: there is no folder or no picture, none is usable, or nothing is left to train on.
    """
    paths = images_in(folder)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # Pillow decodes without the interpreter's lock
        read = list(pool.map(lambda path: _read(path, scale, patch, lr_filter), paths))
    usable = [found for found in read if isinstance(found, EvaluationPair)]
    remarks = tuple(found for found in read if isinstance(found, str))
    if not usable:
        shown = "\n  ".join(remarks[:3])
        raise DefianError(
            f"None of the {len(paths)} pictures below {folder} can be trained on.\n  {shown}",
            f"Give pictures of at least {patch * scale}x{patch * scale} pixels, or a smaller --patch.",
        )
    if holdout is None:
        holdout = len(usable) // HOLDOUT_STEP
    if holdout >= len(usable):
        raise DefianError(
            f"--holdout {holdout} leaves nothing to train on: {len(usable)} pictures below {folder} are usable.",
            "Hold out fewer, or give more pictures.",
        )
    held = {int((index + 0.5) * len(usable) / holdout) for index in range(holdout)}
    return Pictures(
        tuple(pair for index, pair in enumerate(usable) if index not in held),
        tuple(pair for index, pair in enumerate(usable) if index in held),
        remarks,
    )


def _read(path: Path, scale: int, patch: int, lr_filter: str) -> EvaluationPair | str:
    try:
        picture = read_image(path)
    except DefianError as error:
        return f"Left out: {error.message}"
    return _pair(path.name, picture, scale, patch, lr_filter)


def _pair(name: str, picture: np.ndarray, scale: int, patch: int, lr_filter: str) -> EvaluationPair | str:
    height, width = picture.shape[:2]
    if min(height, width) // scale < patch:
        return f"Left out: {name} is {width}x{height} pixels, patches need {patch * scale} a side."
    return EvaluationPair(name, *lr_and_hr(picture, scale, lr_filter))


def named_pairs(
    scale: int, validation: Path | None, lr_pictures: Path | None, hr_pictures: Path | None
) -> dict[str, tuple[EvaluationPair, ...]]:
    """Validation sets that the command line names: ``validation`` (HR pictures) and ``pairs`` (LR and HR folders).

    Raises:
        DefianError: as :func:`defian_edge.calibration.photos.evaluation_pairs`, or only one of LR and HR is given.
    """
    if (lr_pictures is None) != (hr_pictures is None):
        raise DefianError(
            "Expected both --lr-pictures and --hr-pictures, or neither.", "Give the other folder as well."
        )
    found: dict[str, tuple[EvaluationPair, ...]] = {}
    if validation is not None:
        found["validation"] = tuple(evaluation_pairs(scale, dataset=validation))
    if lr_pictures is not None:
        found["pairs"] = tuple(evaluation_pairs(scale, lr=lr_pictures, hr=hr_pictures))
    return found
