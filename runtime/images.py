"""Photos on disk <-> uint8 RGB arrays."""

from __future__ import annotations

import io
import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from .colour import to_srgb
from .decoding import FORMATS, UNREADABLE, eight_bits, is_truncated, opened, require_pixels, upright
from .errors import DefianError
from .files import write_whole
from .folders import files_below
from .jpeg2000 import jpeg2000_profile
from .series import KINDS
from .whole import breaks_off

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .files import Written

SUFFIXES = frozenset(
    {
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".avif"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".gif"),
    }
)
"""Files of a folder that are photos; what is in a file is told by its content."""
_ORIENTATION, _EXIF, _GPS = 0x0112, 0x8769, 0x8825
_SIZES = (0xA002, 0xA003)
_TIMES = (*range(0x9003, 0x9005), *range(0x9010, 0x9013), *range(0x9290, 0x9293))
_KEPT = frozenset({270, 271, 272, 305, 306, 315, 33432, _EXIF, _GPS, *range(0x9C9B, 0x9CA0), *_TIMES})
"""Tags that say something of a picture and not of how its file is made: description, camera, date, author, place.

The times of exposure belong into the block of their own, but some programs write them beside the date.
"""


@dataclass(frozen=True)
class Photo:
    """A picture, and what its file says of it.

    Attributes:
        pixels: uint8 RGB [H, W, 3], upright, in sRGB.
        exif: the EXIF block without orientation and sizes; empty for none.
        dpi: dots per inch across and down; None if the file does not say.
        left_out: further pages or frames of the file, which are not in ``pixels``.
        remarks: what could not be read as it is meant.
    """

    pixels: np.ndarray
    exif: bytes = b""
    dpi: tuple[float, float] | None = None
    left_out: int = 0
    remarks: tuple[str, ...] = ()


def read_image(path: Path) -> np.ndarray:
    """A photo as uint8 RGB [H, W, 3], turned as its EXIF orientation says, in sRGB.

    Grey becomes RGB, more than 8 bits are rounded to 8, colours are converted from the ICC profile, alpha is dropped,
    and of several pages or frames the first is taken.

    Raises:
        DefianError: the file is missing, is of no format that is named, cannot be decoded, has too many pixels, or its
            values have no white to be scaled by.
    """
    return read_photo(path).pixels


def read_photo(path: Path) -> Photo:
    """A photo and what its file says of it.

    Raises:
        DefianError: as ``read_image``.
    """
    with _named(path), _quietly(), opened(path) as image:
        _require_whole(image, path)
        return _photo(image, path, _frames(image) - 1)


def series_kind(path: Path) -> str:
    """Pillow's name of the format of a file of several pages or frames that can be written again; empty for any other.

    A file that cannot be read is none: reading it says why.
    """
    try:
        with _quietly(), opened(path, KINDS) as image:
            return str(image.format) if _frames(image) > 1 else ""
    except (DefianError, *UNREADABLE):
        return ""


@dataclass(frozen=True)
class Series:
    """An animation, or the pages of a file.

    Attributes:
        count: of its frames.
        loops: how often it is shown; 0 for without end, None if the file does not say.
        frames: each with the milliseconds for which it is shown; they are read one by one.
    """

    count: int
    loops: int | None
    frames: Iterator[tuple[Photo, float]]


@contextmanager
def opened_series(path: Path) -> Iterator[Series]:
    """The frames of a file, whole as they are shown, read as ``read_photo`` reads a picture.

    Raises:
        DefianError: as ``read_photo``, here or when a frame is asked for.
    """
    with _named(path), _quietly(), opened(path) as image:
        _require_whole(image, path)
        skipped = int(bool(image.info.get("default_image")))  # a picture for programs that show no animation
        count = _frames(image)

        def frames() -> Iterator[tuple[Photo, float]]:
            for index in range(skipped, count):
                with _named(path, f" at frame {index + 1 - skipped} of {count - skipped}"), _quietly():
                    image.seek(index)
                    require_pixels(image, path)
                    photo = _photo(image, path)
                    shown = float(image.info.get("duration") or 0)
                yield photo, shown if math.isfinite(shown) and shown >= 0 else 0.0

        loops = image.info.get("loop")
        yield Series(count - skipped, int(loops) if isinstance(loops, (int, float)) else None, frames())


def _require_whole(image: Image.Image, path: Path) -> None:
    if where := breaks_off(path, str(image.format)):
        raise DefianError(f"{path}: {where}.", "Get the whole file, or leave it out.")


def _photo(image: Image.Image, path: Path, left_out: int = 0) -> Photo:
    """The frame at which an open file stands."""
    cut = "of its 16 bits a channel the upper 8 are taken, as it is animated" if is_truncated(image) else ""
    decoded = eight_bits(image, path)
    said = image.getexif()
    turned = upright(decoded, said.get(_ORIENTATION, 1))
    profile = jpeg2000_profile(path) if image.format == "JPEG2000" else image.info.get("icc_profile")
    picture, remark = to_srgb(turned, profile)
    exif, lost = _kept(said)
    remarks = tuple(each for each in (cut, remark, lost) if each)
    return Photo(np.asarray(picture), exif, _dpi(image.info.get("dpi")), left_out, remarks)


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of tags that it does not know
        yield


@contextmanager
def _named(path: Path, place: str = "") -> Iterator[None]:
    """What Pillow raises becomes an error that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DefianError(f"No image at {path}.") from error
    except IsADirectoryError as error:
        raise DefianError(f"{path} is a folder, expected an image.") from error
    except UnidentifiedImageError as error:
        raise DefianError(
            f"{path} cannot be decoded as an image: expected one of {', '.join(FORMATS)}, found none of them in it.",
            "Open it in an image viewer and save it as one of these, or leave it out.",
        ) from error
    except UNREADABLE as error:
        raise DefianError(
            f"{path} cannot be decoded as an image{place} ({str(error) or type(error).__name__}).",
            "Open it in an image viewer, or leave it out.",
        ) from error


def _frames(image: Image.Image) -> int:
    """Pages or frames. The further pictures of a telephone's JPEG (depth, gain map) are none."""
    if image.format == "MPO":
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except UNREADABLE:
        return 1


def _kept(said: Image.Exif) -> tuple[bytes, str]:
    """The EXIF block to write, and what was lost."""
    try:
        kept = Image.Exif()
        for tag in said:
            if tag in (_EXIF, _GPS):
                kept.get_ifd(tag).update({k: v for k, v in said.get_ifd(tag).items() if k not in _SIZES})
            elif tag in _KEPT:
                kept[tag] = said[tag]
        empty = not kept and not any(kept.get_ifd(tag) for tag in (_EXIF, _GPS))
        return (b"" if empty else kept.tobytes()), ""
    except UNREADABLE as error:
        return b"", f"its EXIF block cannot be written again ({error or type(error).__name__}) and is left out"


def _dpi(said: Any) -> tuple[float, float] | None:  # noqa: ANN401
    try:
        across, down = (float(each) for each in said)
    except (TypeError, ValueError, ArithmeticError):
        return None
    good = all(math.isfinite(each) and 1 <= each <= 1e5 for each in (across, down))
    return (across, down) if good else None


def write_png(path: Path, image: np.ndarray, source: Photo | None = None) -> Written:
    """Write uint8 RGB [H, W, 3] as PNG; the file appears whole or not at all.

    Args:
        path: the file.
        image: the pixels.
        source: the photo whose EXIF block and resolution the file gets.

    Raises:
        DefianError: it cannot be written.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=4, **extras_of(source))
    return write_whole(path, buffer.getvalue())


def extras_of(source: Photo | None) -> dict[str, Any]:
    """What Pillow is told of a photo beside its pixels."""
    extras: dict[str, Any] = {}
    if source is not None and source.exif:
        extras["exif"] = source.exif
    if source is not None and source.dpi is not None:
        extras["dpi"] = source.dpi
    return extras


def images_in(folder: Path) -> list[Path]:
    """All image files below a folder, recursively, in one deterministic order (by path).

    Raises:
        DefianError: the folder is missing, cannot be read in all its parts, or holds no image.
    """
    if not folder.is_dir():
        raise DefianError(f"No folder at {folder}.", "Give a folder of photos.")
    below = files_below(folder)
    if below.unreadable:
        raise DefianError(
            f"The folder {below.unreadable[0]} cannot be read.", "Make it readable, or give another folder."
        )
    paths = [path for path in below.files if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise DefianError(
            f"No image below {folder}: expected files ending in {', '.join(sorted(SUFFIXES))}.",
            "Give a folder that holds photos.",
        )
    return paths


def downscale(image: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Crop HR [H, W, 3] to a multiple of the scale and make its LR with Pillow's bicubic filter; returns (LR, HR)."""
    height, width = (side - side % scale for side in image.shape[:2])
    cropped = np.ascontiguousarray(image[:height, :width])
    smaller = Image.fromarray(cropped).resize((width // scale, height // scale), Image.Resampling.BICUBIC)
    return np.asarray(smaller), cropped
