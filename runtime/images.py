"""Photos on disk <-> uint8 RGB arrays."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from runtime.errors import DefianError
from runtime.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.files import Written

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises at broken files; its own UnidentifiedImageError is an OSError."""
SCALELESS = frozenset({"I", "F"})
"""Pillow's modes of 32-bit integers and floats, which it would clip at 255."""


def read_image(path: Path) -> np.ndarray:
    """A photo as uint8 RGB [H, W, 3], turned as its EXIF orientation says.

    Grey becomes RGB, 16 bits become 8, alpha is dropped.

    Raises:
        DefianError: the file is missing, Pillow cannot decode it, or its values have no white to be scaled by.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            sixteen_bits = upright.mode.startswith("I;16") or (upright.mode == "I" and image.format == "PNG")
            if upright.mode in SCALELESS and not sixteen_bits:
                raise DefianError(
                    f"{path}: expected 8 or 16 bits a channel, found Pillow's mode {upright.mode} with no known white.",
                    "Convert it to an 8-bit PNG.",
                )
            if sixteen_bits:
                grey = np.rint(np.asarray(upright) / 257).astype(np.uint8)
                return np.stack([grey] * 3, axis=-1)
            return np.asarray(upright.convert("RGB"))
    except FileNotFoundError as error:
        raise DefianError(f"No image at {path}.") from error
    except IsADirectoryError as error:
        raise DefianError(f"{path} is a folder, expected an image.") from error
    except UNREADABLE as error:
        raise DefianError(
            f"{path} cannot be decoded as an image ({str(error) or type(error).__name__}).",
            "Open it in an image viewer, or leave it out.",
        ) from error


def write_png(path: Path, image: np.ndarray) -> Written:
    """Write uint8 RGB [H, W, 3] as PNG; the file appears whole or not at all.

    Raises:
        DefianError: it cannot be written.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=4)
    return write_whole(path, buffer.getvalue())


def images_in(folder: Path) -> list[Path]:
    """All image files below a folder, recursively, in one deterministic order (by path).

    Raises:
        DefianError: the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise DefianError(f"No folder at {folder}.", "Give a folder of photos.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
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
