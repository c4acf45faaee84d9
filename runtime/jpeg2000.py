"""What Pillow does not tell of a JPEG 2000 file: how many bits a channel has, and its ICC profile."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SIZES = b"\xff\x4f\xff\x51"
"""Start of a codestream (SOC) and of its sizes (SIZ)."""
_COUNT_PLACE = 40
"""Of the number of components, from the start of the codestream; three bytes for each of them follow."""
MOST_BOXES = 1000
_WITH_PROFILE = (b"\2", b"\3")
"""Methods of a ``colr`` box whose content is an ICC profile: restricted, and any."""


def jpeg2000_bits(path: Path) -> int:
    """Bits of the deepest channel, 1 to 128, from the codestream's SIZ marker (ISO/IEC 15444-1, A.5.1 and I.4).

    Raises:
        OSError, struct.error, ValueError: the file cannot be read, breaks off, or holds no codestream.
    """
    with path.open("rb") as stream:
        start = 0 if stream.read(len(_SIZES)) == _SIZES else _codestream(stream)
        stream.seek(start)
        head = stream.read(_COUNT_PLACE + 2)
        (count,) = struct.unpack_from(">H", head, _COUNT_PLACE)
        depths = stream.read(3 * count)[::3]
    if not head.startswith(_SIZES) or not count or len(depths) < count:
        raise ValueError("its codestream has no sizes")
    return max((depth & 0x7F) + 1 for depth in depths)


def jpeg2000_profile(path: Path) -> bytes:
    """The ICC profile of a file's first ``colr`` box, which alone counts; empty if there is none.

    A restricted profile (method 2) is of ISO/IEC 15444-1, I.5.3.3, any other (method 3) of 15444-2, M.11.7.2.

    Raises:
        OSError, struct.error, ValueError: the file cannot be read, breaks off, or has too many boxes.
    """
    with path.open("rb") as stream:
        if stream.read(len(_SIZES)) == _SIZES:
            return b""
        for kind, start, end in _boxes(stream, 0, stream.seek(0, 2)):
            if kind == b"jp2c":
                break
            for inner, begin, stop in _boxes(stream, start, end) if kind == b"jp2h" else ():
                if inner == b"colr":
                    stream.seek(begin)
                    content = stream.read(stop - begin)
                    return content[3:] if content[:1] in _WITH_PROFILE else b""
    return b""


def _codestream(stream: BinaryIO) -> int:
    """Where the box ``jp2c`` has its content."""
    for kind, start, _ in _boxes(stream, 0, stream.seek(0, 2)):
        if kind == b"jp2c":
            return start
    raise ValueError("it holds no codestream")


def _boxes(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box of a part of the file, and from where to where its content goes."""
    for _ in range(MOST_BOXES):
        if start >= end:
            return
        stream.seek(start)
        length, kind = struct.unpack(">I4s", stream.read(8))
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", stream.read(8))
            head = 16
        stop = end if length == 0 else min(start + length, end)
        if stop < start + head:
            raise ValueError("a box of it is shorter than its head")
        yield kind, start + head, stop
        start = stop
    raise ValueError(f"it has more than {MOST_BOXES} boxes")
