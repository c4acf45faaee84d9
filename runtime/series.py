"""Pictures that follow each other in one file: animations in WebP, PNG and GIF, and the pages of a TIFF.

Every frame is encoded by Pillow for itself and put into the file at once, so that no more than one is in memory;
Pillow's own way to save animations keeps all of them.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from PIL import Image, TiffImagePlugin

from .errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {"WEBP": (".webp",), "PNG": (".png", ".apng"), "GIF": (".gif",), "TIFF": (".tif", ".tiff")}
"""Pillow's name of a format -> suffixes of its files, the usual one first."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER, _DATA, _END = b"IHDR", b"IDAT", b"IEND"
MOST_SIDE = {"WEBP": 1 << 14, "GIF": (1 << 16) - 1}
"""Pixels that a side may have."""
GIF_COLOURS = 256


class SeriesWriter(Protocol):
    """Writes a file frame by frame."""

    def add(self, picture: Image.Image, milliseconds: float, **extras: Any) -> None:  # noqa: ANN401
        """Append a frame, RGB and as large as the first, but for TIFF; extras are Pillow's ``exif`` and ``dpi``."""
        ...

    def finish(self) -> None:
        """Write what comes last."""
        ...


def series_writer(kind: str, stream: BinaryIO, count: int, loops: int | None) -> SeriesWriter:
    """What writes a series.

    Args:
        kind: one of ``KINDS``.
        stream: open for writing and reading, and empty.
        count: how many frames will come.
        loops: how often an animation is shown; 0 for without end, None where the file does not say.
    """
    if kind == "PNG":
        return _Png(stream, count, loops)
    if kind == "GIF":
        return _Gif(stream, loops)
    return _WebP(stream, loops) if kind == "WEBP" else _Tiff(stream)


def require_side(kind: str, width: int, height: int) -> None:
    """Refuse what the format cannot hold.

    Raises:
        DefianError: a side is too long.
    """
    most = MOST_SIDE.get(kind)
    if most is not None and max(width, height) > most:
        raise DefianError(f"A result of {width}x{height} is too large for {kind}, which takes sides up to {most}.")


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


class _Png:
    """APNG 1.0: the first frame in IDAT, where programs without animation find it, further ones in fdAT."""

    def __init__(self, stream: BinaryIO, count: int, loops: int | None) -> None:
        self._stream, self._count, self._loops = stream, count, loops or 0
        self._number = 0

    def add(self, picture: Image.Image, milliseconds: float, **extras: Any) -> None:  # noqa: ANN401
        first = self._number == 0
        if first:
            self._stream.write(_SIGNATURE)
        controlled = False
        for name, data in _png_chunks(_encoded(picture, "PNG", compress_level=4, **(extras if first else {}))):
            if name == _DATA:
                if not controlled:
                    self._control(picture, milliseconds)
                    controlled = True
                if first:
                    self._chunk(_DATA, data)
                else:
                    self._chunk(b"fdAT", struct.pack(">I", self._next()) + data)
            elif first and name != _END:
                self._chunk(name, data)
                if name == _HEADER:
                    self._chunk(b"acTL", struct.pack(">II", self._count, self._loops))

    def _control(self, picture: Image.Image, milliseconds: float) -> None:
        over, under = (round(milliseconds), 1000) if milliseconds <= 0xFFFF else (round(milliseconds / 1000), 1)
        times = struct.pack(">HHBB", min(over, 0xFFFF), under, 0, 0)
        self._chunk(b"fcTL", struct.pack(">IIIII", self._next(), *picture.size, 0, 0) + times)

    def _next(self) -> int:
        self._number += 1
        return self._number - 1

    def _chunk(self, name: bytes, data: bytes) -> None:
        self._stream.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))

    def finish(self) -> None:
        self._chunk(_END, b"")


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_SIGNATURE)
    while place < len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        yield name, content[place + 8 : place + 8 + length]
        place += 12 + length


class _Gif:
    """GIF89a: every frame whole, with colours of its own."""

    def __init__(self, stream: BinaryIO, loops: int | None) -> None:
        self._stream, self._loops = stream, loops
        self._begun = False

    def add(self, picture: Image.Image, milliseconds: float, **extras: Any) -> None:  # noqa: ANN401, ARG002
        if not self._begun:
            self._begun = True
            self._stream.write(b"GIF89a" + struct.pack("<HHBBB", *picture.size, 0x70, 0, 0))
            if self._loops is not None:
                self._stream.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", self._loops & 0xFFFF, 0))
        few = picture.quantize(GIF_COLOURS)
        depth, colours, data = _gif_parts(_encoded(few, "GIF", optimize=False, interlace=0))
        centiseconds = min(round(milliseconds / 10), 0xFFFF)
        self._stream.write(b"\x21\xf9\x04" + struct.pack("<BHBB", 1 << 2, centiseconds, 0, 0))
        self._stream.write(b"\x2c" + struct.pack("<HHHHB", 0, 0, *picture.size, 0x80 | depth) + colours + data)

    def finish(self) -> None:
        self._stream.write(b"\x3b")


def _gif_parts(content: bytes) -> tuple[int, bytes, bytes]:
    """Of a GIF of one frame: the size of its colour table as GIF writes it, the table, and the coded pixels."""
    place, flags = 13, content[10]
    depth = flags & 7
    colours = b""
    if flags & 0x80:
        colours = content[place : place + 3 * (2 << depth)]
        place += len(colours)
    while content[place] == 0x21:
        place += 2
        while content[place]:
            place += content[place] + 1
        place += 1
    local = content[place + 9]
    place += 10
    if local & 0x80:
        depth = local & 7
        colours = content[place : place + 3 * (2 << depth)]
        place += len(colours)
    begin = place
    place += 1
    while content[place]:
        place += content[place] + 1
    return depth, colours, content[begin : place + 1]


class _WebP:
    """WebP's extended format: every frame without loss, in a chunk of its own, replacing the one before."""

    def __init__(self, stream: BinaryIO, loops: int | None) -> None:
        self._stream, self._loops = stream, loops or 0
        self._exif: bytes | None = None

    def add(self, picture: Image.Image, milliseconds: float, **extras: Any) -> None:  # noqa: ANN401
        width, height = picture.size
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        if self._exif is None:
            self._exif = bytes(extras.get("exif", b"")).removeprefix(b"Exif\0\0")
            self._stream.write(b"RIFF\0\0\0\0WEBP")
            self._chunk(b"VP8X", struct.pack("<I", 2 | 8 * bool(self._exif)) + sides)
            self._chunk(b"ANIM", struct.pack("<IH", 0, self._loops & 0xFFFF))
        length = min(round(milliseconds), 0xFFFFFF).to_bytes(3, "little")
        coded = _encoded(picture, "WEBP", lossless=True, quality=50, method=3)
        pixels = b"".join(content for name, content in _riff_chunks(coded) if name in (b"VP8L", b"VP8 ", b"ALPH"))
        self._chunk(b"ANMF", bytes(6) + sides + length + b"\x02" + pixels)

    def _chunk(self, name: bytes, data: bytes) -> None:
        self._stream.write(_riff_chunk(name, data))

    def finish(self) -> None:
        if self._exif:
            self._chunk(b"EXIF", self._exif)
        size = self._stream.tell()
        self._stream.seek(4)
        self._stream.write(struct.pack("<I", size - 8))
        self._stream.seek(size)


def _riff_chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _riff_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names of the chunks, and each whole."""
    place = 12
    while place + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, place)
        yield name, _riff_chunk(name, content[place + 8 : place + 8 + length])
        place += 8 + length + length % 2


class _Tiff:
    """Pages, each compressed without loss; they may have different sizes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._writer: Any = TiffImagePlugin.AppendingTiffWriter(stream, new=True)

    def add(self, picture: Image.Image, milliseconds: float, **extras: Any) -> None:  # noqa: ANN401, ARG002
        picture.save(self._writer, format="TIFF", compression="tiff_deflate", **extras)
        self._writer.newFrame()

    def finish(self) -> None:
        self._writer.finalize()
