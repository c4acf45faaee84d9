"""Encoded packets in a file of their own: every one with its times, as the encoder gave it.

FFmpeg's containers change times: Matroska rounds them to milliseconds, MP4 moves them to begin at 0, and NUT takes none
below 0, where the first packets of a film with B-frames are decoded.

The file, little-endian: ``DEFIANP1``, the length of the encoder's header (uint32) and the header; then of each packet
its time of display and its duration (int64, in units of the film's time base), 1 for a key frame (uint8), its length
(uint32) and its content.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from fractions import Fraction
    from pathlib import Path

MAGIC = b"DEFIANP1"
_LENGTH, _PACKET = struct.Struct("<I"), struct.Struct("<qqBI")


class PacketWriter:
    """Writes packets.

    Args:
        stream: an empty file, open for writing.
        base: seconds of a unit of time.
    """

    def __init__(self, stream: BinaryIO, base: Fraction) -> None:
        self._stream, self._base = stream, base
        self._begun = False

    def write(self, packets: Iterable[Any], header: bytes) -> None:
        """Append packets of PyAV; ``header`` is the encoder's, the same each time."""
        if not self._begun:
            self._begun = True
            self._stream.write(MAGIC + _LENGTH.pack(len(header)) + header)
        for packet in packets:
            units = packet.time_base / self._base
            content = bytes(packet)
            time, duration = round(packet.pts * units), round((packet.duration or 0) * units)
            self._stream.write(_PACKET.pack(time, duration, packet.is_keyframe, len(content)) + content)


class PacketReader:
    """Packets of a file.

    Args:
        stream: the open file.
        name: its name, for errors.

    Attributes:
        header: the encoder's.

    Raises:
        DefianError: it is no such file.
    """

    def __init__(self, stream: BinaryIO, name: Path) -> None:
        self._stream, self._name = stream, name
        if stream.read(len(MAGIC)) != MAGIC:
            raise DefianError(f"{name} is no part of a film.", "Use --overwrite.")
        self.header = self._read(_LENGTH.unpack(self._read(_LENGTH.size))[0])

    def times(self) -> Iterator[int]:
        """Times of display in the order of decoding; the contents are passed over."""
        while fields := self._next():
            self._stream.seek(fields[3], 1)
            yield fields[0]

    def packets(self, av: Any) -> Iterator[Any]:  # noqa: ANN401 - the module
        """Packets of PyAV, without a time of decoding and a time base."""
        while fields := self._next():
            time, duration, key, length = fields
            packet = av.Packet(self._read(length))
            packet.pts, packet.duration, packet.is_keyframe = time, duration, bool(key)
            yield packet

    def _next(self) -> tuple[int, int, int, int] | None:
        data = self._stream.read(_PACKET.size)
        return _PACKET.unpack(self._whole(data, _PACKET.size)) if data else None

    def _read(self, count: int) -> bytes:
        return self._whole(self._stream.read(count), count)

    def _whole(self, data: bytes, count: int) -> bytes:
        if len(data) != count:
            raise DefianError(f"{self._name} breaks off.", "Use --overwrite.")
        return data


@contextmanager
def opened_packets(path: Path) -> Iterator[PacketReader]:
    """The packets of a file.

    Raises:
        DefianError: it is no such file, or breaks off.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        yield PacketReader(stream, path)
