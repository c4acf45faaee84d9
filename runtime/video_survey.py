"""Damage of a video file that neither packets nor frames show: what FFmpeg complains of."""

from __future__ import annotations

import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from .video_source import film_stream, opened_film, packets_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_SIZE_PLACE, _FLAGS_PLACE, _LIVE = 40, 88, 1
"""Of ASF's file properties object (section 3.2): its size of the file, its flags, and the one of a live recording."""
_ASF_HEADER = 1 << 16
CHECKED, CHECKSUM = "ffv1", "CRC mismatch"
"""FFmpeg's decoder that shows the picture before where a part fails its checksum, and what it writes then."""


def faults_of(av: Any, source: Path) -> list[str]:  # noqa: ANN401
    """What is wrong with a file, in sentences; reads it to its end, and decodes what has checksums.

    FFmpeg goes on behind a place that it cannot read, or that fails its checksum, and only writes a line about it. The
    lines are read in a pass of its own, without a decoder's threads: writing them takes Python's lock, for which such a
    thread could wait for ever. Where the header says how many frames there are, nobody need ask the format's reader.

    Raises:
        DefianError: there is no film.
        FFmpegError, OSError: the file cannot be opened or read.
    """
    said: dict[str, list[str]] = {}
    with _complaints(av) as lines, opened_film(av, source) as reader:
        film, kind = film_stream(reader, source), reader.format.name
        checked = film.codec_context.name == CHECKED
        film.thread_type = "NONE"
        for packet in packets_of(reader) if checked or not film.frames else ():
            if checked and packet.stream.index == film.index:
                with suppress(av.FFmpegError):  # which is told where it is decoded for the result
                    packet.decode()
            for _, who, text in lines:
                said.setdefault(who, []).append(text.strip())
            lines.clear()
        complaints = [] if film.frames else said.get(kind, [])
    found = []
    if complaints:
        found.append(f"the file is damaged at {len(complaints)} places ({complaints[0]})")
    if slices := sum(CHECKSUM in text for text in said.get(CHECKED, ())):
        found.append(f"{slices} parts of pictures fail their checksum")
    if kind == "asf" and (promised := _size_in_asf(source)) > source.stat().st_size:
        found.append(f"the header promises {promised} bytes, the file has {source.stat().st_size}")
    return found


@contextmanager
def _complaints(av: Any) -> Iterator[list[tuple[int, str, str]]]:  # noqa: ANN401
    """FFmpeg's errors of this thread, as they come: level, who says it, text."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    with av.logging.Capture(local=True) as lines:
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.ERROR)
        try:
            yield lines
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skips)


def _size_in_asf(source: Path) -> int:
    """The size of the file that the header of an ASF or WMV file says; 0 if it does not, as of a live recording."""
    with source.open("rb") as stream:
        head = stream.read(_ASF_HEADER)
    place = head.find(_FILE_PROPERTIES)
    if place < 0 or len(head) < place + _FLAGS_PLACE + 4:
        return 0
    (size,) = struct.unpack_from("<Q", head, place + _SIZE_PLACE)
    (flags,) = struct.unpack_from("<I", head, place + _FLAGS_PLACE)
    return 0 if flags & _LIVE else int(size)
