"""The film in a video file: which stream it is, its frames in their order, and what of it did not come out."""

from __future__ import annotations

import os
import struct
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import FULL, DefianError
from .video_ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PROGRESSIVE = (0, 1)
"""Of FFmpeg's field orders: unknown, progressive."""
SURROGATES_BY_ITSELF = 19
"""The first PyAV that reads metadata so, and takes no word of it."""
NEARLY = 0.02
"""Of the largest number of a matrix: what is smaller counts as none."""
MATRIX = struct.Struct("=5i")
"""The first five of its nine numbers."""
DEINTERLACE = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")


def place_of(path: Path, mode: str) -> Any:  # noqa: ANN401 - text or an open file
    """What FFmpeg is given for a path: never a name that it could take for a protocol; a file where it is no text."""
    text = os.fspath(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return path.open(mode)
    return f"file:{text}"


def opened_film(av: Any, source: Path) -> Any:  # noqa: ANN401
    """A film to read. Bytes of its metadata that are no UTF-8, as in old AVI files, come as surrogates."""
    older = int(av.__version__.partition(".")[0]) < SURROGATES_BY_ITSELF
    how = {"metadata_errors": "surrogateescape"} if older else {}
    return av.open(place_of(source, "rb"), **how)


@contextmanager
def ffmpegs_faults(av: Any, source: Path) -> Iterator[None]:  # noqa: ANN401
    """FFmpeg's errors in the words of the command line.

    Raises:
        OSError: the disk is full.
        DefianError: whatever else FFmpeg cannot do with the file.
    """
    try:
        yield
    except av.FFmpegError as error:
        if error.errno in FULL:
            raise OSError(error.errno, error.strerror) from error
        raise DefianError(f"{source}: {error.strerror or error}.", "Play it with ffplay, or leave it out.") from error


def packets_of(reader: Any, stream: Any = None) -> Iterator[Any]:  # noqa: ANN401
    """All packets of a file, or of a stream; those of a stream that begins in the middle are left out.

    At the end PyAV asks such a stream for a decoder that it has not made; those of the others it has asked by then.
    """
    with suppress(IndexError):
        yield from reader.demux(stream)


def rate_of(stream: Any) -> Fraction:  # noqa: ANN401
    """Frames per second of a film, as far as its file says it."""
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def says_interlaced(av: Any, stream: Any, source: Path) -> bool:  # noqa: ANN401
    """Whether the header of a film says that it is interlaced; warns where PyAV does not tell."""
    order: int | None = getattr(stream.codec_context, "field_order", None)
    if order is None:
        warnings.warn(
            f"{source}: PyAV {av.__version__} does not tell a film's field order, as 18 does from Python 3.11 on: "
            "frames are deinterlaced only if they say so themselves.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return order not in PROGRESSIVE


def film_stream(reader: Any, source: Path) -> Any:  # noqa: ANN401 - an input container, a video stream
    """The stream that is the film: attached pictures, such as cover art, are none.

    Raises:
        DefianError: there is no film, or no decoder for it.
    """
    films = [each for each in reader.streams.video if not is_picture(each)]
    if not films:
        pictures = len(reader.streams.video)
        said = f", only {pictures} attached picture{'s' * (pictures > 1)}" if pictures else ""
        raise DefianError(f"{source} holds no video{said}.")
    best = reader.streams.best("video")
    film = best if best is not None and best.index in {each.index for each in films} else films[0]
    if film.codec_context is None:
        raise DefianError(f"{source}: FFmpeg has no decoder for its film.", "Convert it with a program that plays it.")
    return film


def is_picture(stream: Any) -> bool:  # noqa: ANN401
    """Whether a video stream is a picture that is attached to the file, such as cover art."""
    names = {name for name, member in type(stream.disposition).__members__.items() if member & stream.disposition}
    return bool({"attached_pic", "timed_thumbnails", "still_image"} & names)


@dataclass(frozen=True)
class FirstLook:
    """What a film's first frame says.

    Attributes:
        turns: by how many quarters, counter-clockwise, a player turns the frames; 0 for an angle between.
        mirrored: whether it then swaps left and right.
        side_data: what it says beside its pixels, by FFmpeg's names.
        size: its height and width as players show it; None if there is no frame.
    """

    turns: int = 0
    mirrored: bool = False
    side_data: Mapping[str, bytes] = field(default_factory=dict)
    size: tuple[int, int] | None = None

    def upright(self, rgb: np.ndarray) -> np.ndarray:
        """A frame [H, W, 3] as players show it."""
        turned = np.rot90(rgb, self.turns) if self.turns else rgb
        return turned[:, ::-1] if self.mirrored else turned


def first_look(av: Any, source: Path) -> FirstLook:  # noqa: ANN401
    """Decode the first frame alone; nothing is said of a film that has none."""
    with opened_film(av, source) as reader, suppress(av.FFmpegError):
        for frame in reader.decode(film_stream(reader, source)):
            said = {name: bytes(data) for name, data in side_data_of(frame).items()}
            turns, mirrored = _turned(said.get("DISPLAYMATRIX", b""))
            size = (frame.width, frame.height) if turns % 2 else (frame.height, frame.width)
            return FirstLook(turns, mirrored, said, size)
    return FirstLook()


def _turned(matrix: bytes) -> tuple[int, bool]:
    """Quarters counter-clockwise, and whether left and right are swapped then; (0, False) for any other matrix.

    The matrix [[a, b], [c, d]] of FFmpeg's libavutil/display.h, in 16.16 numbers, takes x to ax + cy and y to bx + dy.
    """
    if len(matrix) < MATRIX.size:
        return 0, False
    a, b, _, c, d = MATRIX.unpack_from(matrix)
    small = NEARLY * max(map(abs, (a, b, c, d)))
    a, b, c, d = (0 if abs(each) <= small else 1 if each > 0 else -1 for each in (a, b, c, d))
    mirrored = a * d - b * c < 0
    found = {(1, 0, 0, 1): 0, (0, -1, 1, 0): 1, (-1, 0, 0, -1): 2, (0, 1, -1, 0): 3}
    turns = found.get((-a, b, -c, d) if mirrored else (a, b, c, d))
    return (0, False) if turns is None else (turns, mirrored)


def side_data_of(frame: Any) -> dict[str, Any]:  # noqa: ANN401 - a frame of PyAV's
    """What a frame says beside its pixels, by FFmpeg's names; PyAV to 18 lists the data, 19 the names."""
    found = frame.side_data
    data = (each if hasattr(each, "type") else found[each] for each in found)
    return {each.type.name: each for each in data}


class FilmReader:
    """The frames of a film.

    Frames that are interlaced are deinterlaced if the film begins so, or its header says so.

    Args:
        av: the module.
        reader: the open file.
        stream: the film in it.
        source: for errors.

    Attributes:
        rate: frames per second.
        ledger: what the header promises, and what came out.
        deinterlaced: frames that were interlaced.
        side_data: names of what the frames say beside their pixels.
    """

    def __init__(self, av: Any, reader: Any, stream: Any, source: Path) -> None:  # noqa: ANN401
        self._av, self.reader = av, reader
        self.stream, self.source, self.rate = stream, source, rate_of(stream)
        self._size: tuple[int, int] | None = None
        self._graph: Any = None
        self.ledger = Ledger.of(reader, stream, self.rate)
        self.deinterlaced = 0
        self.side_data: set[str] = set()

    def frames(self, other: Callable[[Any], None]) -> Iterator[Any]:
        """All frames that can be decoded; packets of other streams are handed over as they come.

        Raises:
            DefianError: the size changes, or interlacing begins, in the middle.
        """
        for packet in self.packets():
            film = packet.stream.index == self.stream.index
            if film:
                for frame in self._decoded(packet):
                    yield from self._whole(frame)
            elif packet.dts is not None:
                other(packet)
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pulled()

    def packets(self) -> Iterator[Any]:
        """All packets of the file, which the ledger counts."""
        for packet in packets_of(self.reader):
            self.ledger.packet(packet, film=packet.stream.index == self.stream.index)
            yield packet

    def _decoded(self, packet: Any) -> list[Any]:  # noqa: ANN401
        try:
            return packet.decode()
        except self._av.FFmpegError as error:
            self.ledger.broken += 1
            self.ledger.errors.append(error.strerror or str(error))
            return []

    def _whole(self, frame: Any) -> Iterator[Any]:  # noqa: ANN401
        first = self.ledger.frames == 0
        self.ledger.frame(frame)
        self.side_data.update(side_data_of(frame))
        size = (frame.width, frame.height)
        if self._size is None:
            self._size = size
        if size != self._size:
            before, now = ("x".join(map(str, each)) for each in (self._size, size))
            raise DefianError(
                f"{self.source}: its pictures change from {before} to {now} at frame {self.ledger.frames}.",
                "Cut it there: ffmpeg -i FILE -c copy -f segment parts%d.mkv, or bring it to one size with ffmpeg.",
            )
        if first and (frame.interlaced_frame or says_interlaced(self._av, self.stream, self.source)):
            self._graph = self._filter()
        if self._graph is None:
            if frame.interlaced_frame:
                raise DefianError(
                    f"{self.source}: interlacing begins at frame {self.ledger.frames}.",
                    "Deinterlace it before: ffmpeg -i FILE -vf bwdif -c:a copy FILE2",
                )
            yield frame
            return
        self.deinterlaced += bool(frame.interlaced_frame)
        self._graph.push(frame)
        yield from self._pulled()

    def _filter(self) -> Any:  # noqa: ANN401
        graph = self._av.filter.Graph()
        graph.link_nodes(graph.add_buffer(template=self.stream), graph.add(*DEINTERLACE), graph.add("buffersink"))
        graph.configure()
        return graph

    def _pulled(self) -> Iterator[Any]:
        while True:
            try:
                frame = self._graph.pull()
            except (self._av.BlockingIOError, self._av.EOFError):
                return
            if frame.pts is not None:
                frame.pts = int(frame.pts * frame.time_base / self.stream.time_base)
            frame.time_base = self.stream.time_base
            yield frame
