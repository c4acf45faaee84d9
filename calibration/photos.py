"""Photos for calibration and for measuring drift: a folder of the user's, or the bundled default set."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import downscale, images_in, read_image
from defian_edge.runtime.quality import without_scale

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER = logging.getLogger(__name__)

DEFAULT_CALIBRATION = (
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "color.png",
    "retina.jpg",
    "grass.png",
    "logo.png",
    "camera.png",
    "gravel.png",
    "coins.png",
    "page.png",
    "text.png",
    "brick.png",
    "motorcycle_right.png",
    "chessboard_RGB.png",
)
"""Images that scikit-image ships, so that nothing has to be downloaded: photos, textures, print, a chessboard.
docs/quantisation.md has what fewer of them cost. Every fifth validates if some are held back.
"""

DEFAULT_EVALUATION = ("astronaut.png", "chelsea.png")
"""Photos of the same package that calibration never sees."""

BUNDLED_LICENCES = {
    "astronaut": "photo of Eileen Collins by NASA, no known copyright restrictions; shipped with scikit-image",
    "chelsea": "photo by Stefan van der Walt, CC0; shipped with scikit-image",
}
YOURS = "not known: a photo that was given to export.py"
"""What is said of the licence of a photo that is not bundled."""

VALIDATION_STEP = 5
MOST_VALIDATED = 10
PATCH = 96
PATCHES = 64
"""How many are cut in all: docs/quantisation.md has what fewer cost."""
SEED = 0


def bundled_photos(names: tuple[str, ...]) -> list[Path]:
    """Paths of photos shipped with scikit-image.

    Raises:
        DefianError: this version of scikit-image ships none of them.
    """
    folder = Path(str(files("skimage") / "data"))
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise DefianError(
            f"scikit-image ships none of {', '.join(names)} here.", "Give photos of your own: --calibration, --dataset."
        )
    return found


@dataclass(frozen=True)
class CalibrationSet:
    """Which LR patches calibration sees; enough to make them again bit by bit.

    Attributes:
        photos: the files in the order in which they are used.
        patches: how many LR patches are cut in all.
        size: side of a patch in LR pixels; a photo that is smaller gives what it has.
        scale: the photos are HR; patches are cut from their Pillow-bicubic LR.
        seed: of the patch positions.
        only: LR height and width, where the network takes no others; a photo that is smaller is mirrored at its end.
            None for ``size``.
    """

    photos: tuple[Path, ...]
    scale: int
    patches: int = PATCHES
    size: int = PATCH
    seed: int = SEED
    only: tuple[int | None, int | None] = (None, None)

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in LR pixels, at most."""
        height, width = self.only
        return height or self.size, width or self.size

    def __iter__(self) -> Iterator[np.ndarray]:
        """uint8 RGB patches [H, W, 3], streamed: one photo is in memory at a time.

        Raises:
            DefianError: a photo does not decode, or its LR has fewer than two pixels.
        """
        random = np.random.default_rng(self.seed)
        for index, photo in enumerate(self.photos):
            count = self.patches // len(self.photos) + (index < self.patches % len(self.photos))
            if count == 0:
                return
            lr = self._pair(photo).lr
            height, width = (min(most, side) for most, side in zip(self.patch, lr.shape[:2], strict=True))
            for _ in range(count):
                top = int(random.integers(lr.shape[0] - height + 1))
                left = int(random.integers(lr.shape[1] - width + 1))
                yield lr[top : top + height, left : left + width]

    def split(self) -> tuple[CalibrationSet, CalibrationSet]:
        """Photos for ranges, and every fifth (of fewer than five the last) kept apart for validation.

        Raises:
            DefianError: there is only one photo.
        """
        if len(self.photos) < 2:
            raise DefianError(
                f"Expected at least 2 calibration photos, one of them to validate on, found {len(self.photos)}.",
                "Give more photos: --calibration PHOTOS/, or leave --max-drift and --sensitivity out.",
            )
        step = min(VALIDATION_STEP, len(self.photos))
        validation = self.photos[step - 1 :: step]
        training = tuple(photo for photo in self.photos if photo not in validation)
        return replace(self, photos=training), replace(self, photos=validation[:MOST_VALIDATED])

    def pairs(self) -> list[EvaluationPair]:
        """The middle of every photo as a pair of LR, at most a patch large, and HR."""
        return [fitted(self._pair(photo), (1, 1), self.patch, self.scale) for photo in self.photos]

    def _pair(self, photo: Path) -> EvaluationPair:
        """A photo, mirrored at its end where the network takes nothing so small."""
        lr, hr = downscale(_large_enough(read_image(photo), photo, self.scale), self.scale)
        height, width = (max(only or 1, side) for only, side in zip(self.only, lr.shape[:2], strict=True))
        return fitted(EvaluationPair(photo.stem, lr, hr), (height, width), (height, width), self.scale)

    def sha256(self) -> str:
        """Hash of all patches and their order: of the data itself, not of file names."""
        digest = hashlib.sha256()
        for patch in self:
            digest.update(np.asarray(patch.shape, np.int64).tobytes())
            digest.update(np.ascontiguousarray(patch).tobytes())
        return digest.hexdigest()


def calibration_set(folder: Path | None, scale: int, patches: int = PATCHES) -> CalibrationSet:
    """The calibration set from a folder of HR photos (any format, recursive), or the bundled default.

    Photos are taken in path order, at most as many as there are patches, evenly over the folder.

    Raises:
        DefianError: the folder is missing or has no image.
    """
    photos = bundled_photos(DEFAULT_CALIBRATION) if folder is None else images_in(folder)
    if len(photos) > patches:
        step = len(photos) / patches
        photos = [photos[int(index * step)] for index in range(patches)]
    LOGGER.info("calibration on %d patches of %d photos", patches, len(photos))
    return CalibrationSet(tuple(photos), scale, patches)


@dataclass(frozen=True)
class EvaluationPair:
    """One image of a drift measurement: LR [H, W, 3] and its HR [sH, sW, 3], uint8 RGB; ``licence`` in words."""

    name: str
    lr: np.ndarray
    hr: np.ndarray
    licence: str = YOURS


def fitted(pair: EvaluationPair, least: tuple[int, int], most: tuple[int, int], scale: int) -> EvaluationPair:
    """The middle of a pair, at most so many LR pixels a side; what is smaller than the least is mirrored at its end.

    LR and HR are cut, or mirrored, at the same places.
    """
    lr, hr = pair.lr, pair.hr
    for axis in (0, 1):
        missing = least[axis] - lr.shape[axis]
        if missing > 0:
            lr, hr = (
                np.pad(image, [(0, times * missing) if each == axis else (0, 0) for each in range(3)], "symmetric")
                for image, times in ((lr, 1), (hr, scale))
            )
        begin = max(lr.shape[axis] - most[axis], 0) // 2
        end = min(begin + most[axis], lr.shape[axis])
        lr, hr = (
            image[tuple(slice(times * begin, times * end) if each == axis else slice(None) for each in range(3))]
            for image, times in ((lr, 1), (hr, scale))
        )
    return replace(pair, lr=np.ascontiguousarray(lr), hr=np.ascontiguousarray(hr))


def evaluation_pairs(
    scale: int, dataset: Path | None = None, lr: Path | None = None, hr: Path | None = None
) -> list[EvaluationPair]:
    """The images drift is measured on: HR photos of a folder (or the bundled ones), or LR/HR folders.

    Folders are searched recursively. HR photos are cropped to a multiple of the scale and their LR made by Pillow's
    bicubic filter; a photo is called by its file stem, or by its path in the folder if another one has that stem. LR
    and HR folders are matched by file stem, DIV2K's ``0801x2`` with ``0801``.

    Raises:
        DefianError: folders without images, LR without HR, two of one stem, sizes that do not fit the scale, or that
            leave nothing inside the border.
    """
    if (lr is None) != (hr is None):
        raise DefianError("Expected both --lr and --hr, or neither.", "Give the other folder as well.")
    if lr is not None and hr is not None:
        return [_measurable(pair, scale) for pair in _matched(lr, hr, scale)]
    photos = bundled_photos(DEFAULT_EVALUATION) if dataset is None else images_in(dataset)
    stems = Counter(photo.stem for photo in photos)
    pairs = []
    for photo in photos:
        small, large = downscale(_large_enough(read_image(photo), photo, scale), scale)
        name = photo.stem
        if dataset is not None and stems[name] > 1:
            name = photo.relative_to(dataset).as_posix()
        licence = YOURS if dataset is not None else BUNDLED_LICENCES[name]
        pairs.append(_measurable(EvaluationPair(name, small, large, licence), scale))
    return pairs


def _measurable(pair: EvaluationPair, scale: int) -> EvaluationPair:
    """The pair, if something is left of it inside the border that PSNR-Y leaves out."""
    height, width = pair.hr.shape[:2]
    if min(height, width) <= 2 * scale:
        raise DefianError(
            f"{pair.name} is {width}x{height} pixels: drift needs more than {2 * scale} a side, because PSNR-Y leaves "
            f"out {scale} at each border.",
            "Leave it out, or give a larger photo.",
        )
    return pair


def _matched(lr: Path, hr: Path, scale: int) -> list[EvaluationPair]:
    high = _by_stem(hr)
    pairs = []
    for path in _by_stem(lr).values():
        counterpart = high.get(path.stem) or high.get(without_scale(path.stem, scale))
        if counterpart is None:
            raise DefianError(
                f"{path} has no counterpart: expected an image named {path.stem!r} in {hr}.",
                "Add it, take the LR image away, or give the HR folder alone with --dataset.",
            )
        small, large = read_image(path), read_image(counterpart)
        height, width = small.shape[0] * scale, small.shape[1] * scale
        if not (0 <= large.shape[0] - height < scale and 0 <= large.shape[1] - width < scale):
            raise DefianError(
                f"{counterpart}: expected {width}x{height} pixels for scale {scale} of {path.name}, "
                f"found {large.shape[1]}x{large.shape[0]}.",
                f"Give the LR folder of scale {scale} and the HR images that it was made from.",
            )
        pairs.append(EvaluationPair(path.stem, small, large[:height, :width]))
    return pairs


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in images_in(folder):
        if path.stem in found:
            raise DefianError(
                f"{found[path.stem]} and {path}: expected one image of a name, because LR and HR are matched by it.",
                "Give folders of different names each, or rename one.",
            )
        found[path.stem] = path
    return found


def _large_enough(image: np.ndarray, photo: Path, scale: int) -> np.ndarray:
    height, width = image.shape[:2]
    if (height // scale) * (width // scale) < 2:
        raise DefianError(
            f"{photo} is {width}x{height} pixels: expected an LR image of at least two pixels at scale {scale}.",
            "Leave it out, or give a larger photo.",
        )
    return image
