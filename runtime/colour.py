"""Pictures in the colours that their ICC profile says, as sRGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

CLOSE = 1
"""Levels by which a profile that is sRGB in all but name may change a colour: then the pixels are left as they are."""
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """The picture as RGB without alpha, its colours those of sRGB.

    The conversion is relative colorimetric with black point compensation, by LittleCMS at 8 bits.

    Args:
        image: 8 bits a channel, of any of Pillow's modes.
        profile: an ICC profile; None for none, which is taken as sRGB.

    Returns:
        The picture, and what could not be done; empty if all was.
    """
    plain = image.convert({"LA": "L", "1": "L"}.get(image.mode, image.mode if image.mode in _SPACES else "RGB"))
    if not profile:
        said = "it is CMYK without a profile, its colours are a guess" if plain.mode == "CMYK" else ""
        return plain.convert("RGB"), said
    try:
        from PIL import ImageCms

        described: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = described.profile.xcolor_space.strip()
        if plain.mode == "L" and space == "RGB":
            plain = plain.convert("RGB")
        if space != _SPACES[plain.mode]:
            return plain.convert(
                "RGB"
            ), f"its colour profile is for {space}, the picture is {plain.mode}; taken as sRGB"
        transform = ImageCms.buildTransform(
            described,
            ImageCms.createProfile("sRGB"),
            plain.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        probe = _probe(plain.mode)
        if probe is not None:
            seen = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int)
            if np.abs(seen - np.asarray(probe.convert("RGB"))).max() <= CLOSE:
                return plain.convert("RGB"), ""
        converted = ImageCms.applyTransform(plain, transform)
    except Exception as error:  # of a broken profile; LittleCMS's own error is a plain Exception
        return plain.convert("RGB"), f"its colour profile cannot be used ({error}); taken as sRGB"
    return (plain.convert("RGB") if converted is None else converted), ""


def _probe(mode: str) -> Image.Image | None:
    """Colours from all over the cube, or all greys; None for CMYK, which is never sRGB."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    if mode == "RGB":
        levels = np.linspace(0, 255, 9).round().astype(np.uint8)
        return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(9, 81, 3))
    return None
