"""Whether a file is a photo or a video: by its first bytes, and by its suffix where they say nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .images import SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".mkv", ".mov", ".m4v", ".webm", ".avi", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".vob"),
        *(".wmv", ".flv", ".3gp", ".3g2", ".ogv", ".mxf"),
    }
)
ONLY_BY_CONTENT = frozenset({".ts", ""})
"""Suffixes that other files have as well, and none."""
_PHOTO = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|BM|II\*\0|MM\0\*|RIFF....WEBP|\0\0\0\x0cjP  |\xff\x4f\xff\x51|P[1-7][\s#]"
    rb"|....ftyp(avif|avis|mif1|msf1|heic|heix)",
    re.DOTALL,
)
_VIDEO = re.compile(
    rb"....ftyp|....(moov|mdat|wide|free|skip)|\x1aE\xdf\xa3|RIFF....AVI |\0\0\x01[\xba\xb3]|OggS|FLV\x01"
    rb"|0&\xb2u\x8ef\xcf\x11|\x06\x0e\x2b\x34|G.{187}G|.{4}G.{191}G",
    re.DOTALL,
)


def is_video(path: Path) -> bool:
    """Whether a file is a video; one that cannot be read, or is neither, is what its suffix says."""
    kind = _kind(path)
    return path.suffix.lower() in VIDEO_SUFFIXES if kind is None else kind == "video"


def is_medium(path: Path) -> bool:
    """Whether a file of a folder is a photo or a video: by its name, and by its content where names tell nothing."""
    suffix = path.suffix.lower()
    if suffix in ONLY_BY_CONTENT:
        return _kind(path) is not None
    return suffix in SUFFIXES or suffix in VIDEO_SUFFIXES


def _kind(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            beginning = stream.read(400)
    except OSError:
        return None
    if _PHOTO.match(beginning):
        return "photo"
    return "video" if _VIDEO.match(beginning) else None
