"""Picture files to upright 8-bit pictures: only the formats that the documents name, and values as they are meant.

Pillow decides by content which decoder takes a file, and some of its decoders start other programs, so they are named.
It reads 16 bits a channel as their upper 8, and 16-bit grey as it lies in the file, whatever the file calls white;
both are put right here. What it reads wrongly beyond repair is refused: signed TIFF, deep TIFF in planes, and deep
colours of JPEG 2000, whose white it makes black.
"""

from __future__ import annotations

import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .errors import DefianError
from .jpeg2000 import jpeg2000_bits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "BMP", "JPEG2000", "PPM", "GIF")
"""Pillow's names; older versions lack AVIF."""
MOST_PIXELS = 1 << 29
"""Of one picture. Half a gigapixel is possible in tiles; what claims more is taken for an attack."""
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    MemoryError,
    AttributeError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises at broken files; its own UnidentifiedImageError is an OSError."""
SCALELESS = frozenset({"I", "F"})
"""Pillow's modes of 32-bit integers and floats, which it would clip at 255."""
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_PLANAR, _IN_PLANES, _SAMPLE_FORMAT, _SIGNED = 284, 2, 339, 2
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B"}
"""The raw mode that reads a big-endian value as little-endian gives its lower byte, and the other way round; N is the
machine's own order, little-endian on all that this project runs on."""
_SHIFTED = frozenset({"L", "LA", "RGB", "RGBA", "CMYK"})
"""Modes into which Pillow shifts a JPEG 2000's values: to the left its white is none, to the right it becomes black."""
_lock = threading.Lock()


@contextmanager
def opened(path: Path, among: Collection[str] = FORMATS) -> Iterator[Image.Image]:
    """A picture that is open and not decoded.

    Args:
        path: the file.
        among: Pillow's names of the formats that are tried.

    Raises:
        DefianError: it has more pixels than the limit.
        OSError, SyntaxError, ...: as ``UNREADABLE``.
    """
    Image.init()
    formats = [name for name in among if name in Image.OPEN]
    with path.open("rb") as stream:  # a file that Pillow opens itself it may map, a turned TIFF with its sides swapped
        with _without_pillows_limit():
            image = Image.open(stream, formats=formats)
        with image:
            require_pixels(image, path)
            yield image


def require_pixels(image: Image.Image, path: Path) -> None:
    """Refuse a picture, or a page, before it is decoded.

    Raises:
        DefianError: it has more pixels than the limit.
    """
    if image.width * image.height > MOST_PIXELS:
        found = f"{image.width}x{image.height}, {image.width * image.height / 1e6:.0f} megapixels"
        raise DefianError(f"{path}: expected at most {MOST_PIXELS / 1e6:.0f} megapixels, found {found}.")


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Pillow's own limit is a global of the process, which may be somebody else's; it is put back."""
    with _lock:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def eight_bits(image: Image.Image, path: Path) -> Image.Image:
    """Decode an open picture to 8 bits a channel, rounded, in one of Pillow's 8-bit modes; black is 0.

    Raises:
        DefianError: its values have no white to be scaled by.
        OSError, SyntaxError, ...: as ``UNREADABLE``.
    """
    tags: Any = getattr(image, "tag_v2", {})
    _require_true(image, path, tags)
    if (deep := _deep_mode(image)) is not None:
        if image.format == "TIFF":
            image.load()  # Pillow turns it then, as it turns what ``_rounded`` reads, and its orientation is gone
        return _rounded(image, path, deep)
    if not (image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))):
        if image.mode in SCALELESS or image.mode.startswith("I"):
            raise DefianError(
                f"{path}: expected 8 or 16 bits a channel, found Pillow's mode {image.mode} with no known white.",
                "Convert it to an 8-bit PNG.",
            )
        image.load()
        return image
    bits = int(tags.get(_BITS_PER_SAMPLE, (16,))[0])
    inverted = image.format == "TIFF" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    values = np.asarray(image).astype(np.int64)
    if image.format == "JPEG2000":  # grey, which Pillow shifts to the upper end of its 16 bits
        bits = min(jpeg2000_bits(path), 16)
        values >>= 16 - bits
    white = (1 << bits) - 1
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= white:
        raise DefianError(f"{path}: expected values from 0 to {white}, found {values.min()} to {values.max()}.")
    return Image.fromarray(_scaled(white - values if inverted else values, white))


def _require_true(image: Image.Image, path: Path, tags: Any) -> None:  # noqa: ANN401 - a TIFF's, by number
    """Refuse what Pillow decodes to other values than the file holds.

    Raises:
        DefianError: with what was expected and what was found.
    """
    expected = found = ""
    bits = max(tags.get(_BITS_PER_SAMPLE, (1,)))
    if _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        expected, found = "values from black to white", f"signed numbers of {bits} bits"
    elif bits > 8 and tags.get(_PLANAR) == _IN_PLANES and len(image.getbands()) > 1:
        expected, found = "the channels of a pixel side by side", f"planes of {bits} bits"
    elif image.format == "JPEG2000" and image.mode in _SHIFTED and (bits := jpeg2000_bits(path)) != 8:
        expected, found = f"8 bits a channel in a JPEG 2000 of mode {image.mode}", f"{bits}"
    if found:
        raise DefianError(f"{path}: expected {expected}, found {found}.", "Convert it to a PNG, of 8 or 16 bits.")


def is_truncated(image: Image.Image) -> bool:
    """Whether of an open picture, not decoded yet, ``eight_bits`` takes the upper 8 of 16 bits a channel."""
    animated = image.format == "PNG" and getattr(image, "is_animated", False)
    return animated and any(_is_deep(_raw_mode(tile)) for tile in getattr(image, "tile", []))


def _scaled(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    return np.rint(values * (255 / white)).astype(np.uint8)


def _deep_mode(image: Image.Image) -> str | None:
    """The raw mode of a picture with 16 bits in each of several channels; None for any other.

    Frames of an animated PNG are parts of a picture that Pillow puts together from 8 bits, so they are taken as that.
    """
    if image.format == "PNG" and getattr(image, "is_animated", False):
        return None
    tiles: list[Any] = getattr(image, "tile", [])
    modes = {_raw_mode(tile) for tile in tiles}
    deep = [mode for mode in modes if _is_deep(mode)]
    return deep[0] if len(modes) == 1 and deep else None


def _is_deep(mode: str) -> bool:
    return mode.endswith((";16B", ";16L", ";16N")) and not mode.startswith(("I", "L;"))


def _raw_mode(tile: Any) -> str:  # noqa: ANN401 - a tuple of Pillow's
    arguments = tile[3]
    first = arguments if isinstance(arguments, str) else arguments[0] if arguments else ""
    return first if isinstance(first, str) else ""


def _rounded(image: Image.Image, path: Path, deep: str) -> Image.Image:
    channels, order = deep.split(";16")
    mode = image.mode
    if channels == "LA":  # no raw mode takes its lower bytes, but four bytes are four 8-bit channels
        both = _decoded(path, "RGBA", frame=image.tell()).astype(np.int64)
        return Image.fromarray(_scaled(both[..., 0] * 256 + both[..., 1], 65535))
    plain = channels.replace("a", "A")
    upper, lower = (_decoded(path, f"{plain};16{each}", mode, image.tell()) for each in (order, _OTHER_BYTE[order]))
    values = upper.astype(np.int64) * 256 + lower
    if channels == "RGBa":  # colours were multiplied by alpha
        values[..., :3] = np.minimum(values[..., :3] * 65535 // np.maximum(values[..., 3:], 1), 65535)
    if mode in ("RGBA", "RGBX"):
        return Image.fromarray(_scaled(values[..., :3], 65535))
    return Image.fromarray(_scaled(values, 65535), mode=mode)


def _decoded(path: Path, raw_mode: str, mode: str = "RGBA", frame: int = 0) -> NDArray[np.uint8]:
    """The picture again, its bytes unpacked in another way."""
    with opened(path) as image:
        image.seek(frame)
        file: Any = image
        file.tile = [
            tile._replace(args=raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:]))
            for tile in file.tile
        ]
        file._mode = mode  # noqa: SLF001 - Pillow unpacks into the mode that it has chosen
        image.load()
        return np.asarray(image)


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The picture turned as its EXIF orientation, 1 to 8, says."""
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image
