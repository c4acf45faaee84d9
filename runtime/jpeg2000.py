"""How many bits a channel of a JPEG 2000 file has, which Pillow does not tell."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_SIZES = b"\xff\x4f\xff\x51"
"""Start of a codestream (SOC) and of its sizes (SIZ)."""
_COUNT_PLACE = 40
"""Of the number of components, from the start of the codestream; three bytes for each of them follow."""
MOST_BOXES = 1000


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


def _codestream(stream: BinaryIO) -> int:
    """Where the box ``jp2c`` has its content."""
    place = 0
    for _ in range(MOST_BOXES):
        stream.seek(place)
        length, kind = struct.unpack(">I4s", stream.read(8))
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", stream.read(8))
            head = 16
        if kind == b"jp2c":
            return place + head
        if length < head:
            break
        place += length
    raise ValueError("it holds no codestream")
