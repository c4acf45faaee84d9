"""What a run is given, looked at before anything is measured: shapes, and the images of the drift section."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from defian_edge.benchmark.measure.packed import is_pack, packed_pairs
from defian_edge.benchmark.measure.tiling import require_fit, tile_remark
from defian_edge.benchmark.words import counted
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.verify.pack import read_pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from defian_edge.benchmark.candidates import Candidate
    from defian_edge.benchmark.options import BenchOptions
    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.runtime.profile import Shape

FLOAT_AND_UINT8 = 5
"""Bytes of a value that a run holds as an image and as a float."""


def require_shapes(candidates: Sequence[Candidate], shapes: Sequence[Shape]) -> None:
    """Refuse shapes that an engine does not take, or whose images alone fill this machine's memory.

    Raises:
        DefianError: with the shape.
    """
    memory = machine_memory()
    for shape in shapes:
        batch, height, width = shape
        needed = FLOAT_AND_UINT8 * 3 * batch * height * width * (1 + candidates[0].scale ** 2)
        if memory is not None and needed > memory:
            raise too_large(shape, f": its images alone take {needed / 1e9:.0f} GB of {memory / 1e9:.0f} GB")
    for candidate in candidates:
        profile = candidate.profile
        for shape in shapes:
            if candidate.run is not None and profile is not None and not profile.contains(shape):
                raise DefianError(
                    f"{candidate.name}: expected shapes inside the profile {profile}, found {_words(shape)}.",
                    "Choose another --shape or --batch, or rebuild the engine with a wider --profile.",
                )


def too_large(shape: Shape, why: str = "") -> DefianError:
    """The error for a shape that does not fit into memory."""
    return DefianError(
        f"Not enough memory for an LR batch of {_words(shape)}{why}.", "Choose a smaller --shape or --batch."
    )


def machine_memory() -> int | None:
    """Bytes of memory that this machine has; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _words(shape: Shape) -> str:
    return "x".join(map(str, shape))


def images_of(options: BenchOptions, candidates: Sequence[Candidate]) -> tuple[list[EvaluationPair], str, list[str]]:
    """The images of the drift section, what they are in words, and what a reader must know of them.

    Raises:
        DefianError: folders that do not go together, hold no image, or do not fit an artefact.
    """
    if not options.measures_drift:
        return [], "", []
    if options.reference is not None and is_pack(options.reference):
        pack = read_pack(Path(options.reference))
        pairs = packed_pairs(pack, candidates)
        require_fit(candidates, pairs, options.tiling)
        words = f"{counted(len(pairs), 'photo')} of {pack.path.name}, with the reference's pictures from there"
        return pairs, words, tile_remark(pairs, options.tiling)
    from defian_edge.benchmark.measure.quality import cropped_pairs, cropped_photos, require_references
    from defian_edge.calibration.photos import evaluation_pairs

    if options.dataset is not None and (options.lr is not None or options.hr is not None):
        raise DefianError("Expected --dataset, or --lr with --hr, found both.", "Leave one of them out.")
    scale = candidates[0].scale
    pairs = evaluation_pairs(scale, options.dataset, options.lr, options.hr)
    require_references(candidates, options.reference)
    require_fit(candidates, pairs, options.tiling)
    remarks = tile_remark(pairs, options.tiling)
    if options.dataset is not None:
        words = f"{counted(len(pairs), 'image')} of {_folder(options.dataset)}, LR by Pillow's bicubic"
        return pairs, words, cropped_photos(options.dataset, scale) + remarks
    if options.lr is None or options.hr is None:  # evaluation_pairs has refused it
        return pairs, "", remarks
    words = f"{counted(len(pairs), 'pair')} of {_folder(options.lr)} and {_folder(options.hr)}"
    return pairs, words, cropped_pairs(options.lr, options.hr, scale) + remarks


def _folder(folder: Path) -> str:
    """The folder, and whether images were found below it as well: it is searched recursively."""
    from defian_edge.runtime.images import images_in

    deeper = any(path.parent != folder for path in images_in(folder))
    return f"{folder} and the folders in it" if deeper else str(folder)


def pixels_sha256(pairs: Iterable[EvaluationPair]) -> str:
    """Hash of the pixels of all pairs, whatever their names and order; empty for no pair."""
    each = sorted(
        hashlib.sha256(
            repr([image.shape for image in (pair.lr, pair.hr)]).encode() + pair.lr.tobytes() + pair.hr.tobytes()
        ).hexdigest()
        for pair in pairs
    )
    return hashlib.sha256("".join(each).encode()).hexdigest() if each else ""
