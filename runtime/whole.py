"""Whether a file of several frames holds all that it begins: Pillow takes those before a break for all there are."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

MOST_PAGES = 1 << 16
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


def breaks_off(path: Path, kind: str) -> str:
    """Where a GIF or TIFF breaks off, in words; empty if it does not, or is of another format.

    A GIF whose last frame is whole and whose trailer is missing, as some programs write it, does not.

    Raises:
        OSError: it cannot be read.
    """
    if kind not in ("GIF", "TIFF"):
        return ""
    with path.open("rb") as stream:
        try:
            return _gif(stream) if kind == "GIF" else _tiff(stream)
        except (EOFError, struct.error):
            return "it breaks off"


def _taken(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _gif(stream: BinaryIO) -> str:
    """Follows the blocks of GIF89a (section 12 and on)."""
    flags = _taken(stream, 13)[10]
    _colours(stream, flags)
    images = 0
    while kind := stream.read(1):
        if kind[0] == _IMAGE:
            try:
                _colours(stream, _taken(stream, 9)[8])
                _taken(stream, 1)
                _blocks(stream)
            except EOFError:
                return f"it breaks off in frame {images + 1}"
            images += 1
        elif kind[0] == _EXTENSION:
            _taken(stream, 1)
            _blocks(stream)
        else:  # the trailer, or what some programs leave in its place
            break
    return ""


def _colours(stream: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        _taken(stream, 3 * (2 << (flags & 7)))


def _blocks(stream: BinaryIO) -> None:
    while length := _taken(stream, 1)[0]:
        _taken(stream, length)


def _tiff(stream: BinaryIO) -> str:
    """Follows the chain of directories of TIFF 6.0 and of BigTIFF."""
    head = _taken(stream, 8)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    place = struct.unpack(order + "Q", _taken(stream, 8))[0] if big else struct.unpack(order + "I", head[4:])[0]
    seen: set[int] = set()
    while place:
        if place in seen or len(seen) >= MOST_PAGES:
            return f"its pages run in a circle after page {len(seen)}"
        seen.add(place)
        try:
            place = _next_directory(stream, place, order, big=big)
        except (EOFError, struct.error, OSError):
            return f"it breaks off in page {len(seen)}"
    return ""


def _next_directory(stream: BinaryIO, place: int, order: str, *, big: bool) -> int:
    stream.seek(place)
    (entries,) = struct.unpack(order + ("Q" if big else "H"), _taken(stream, 8 if big else 2))
    stream.seek(place + (8 + 20 * entries if big else 2 + 12 * entries))
    (following,) = struct.unpack(order + ("Q" if big else "I"), _taken(stream, 8 if big else 4))
    return int(following)
