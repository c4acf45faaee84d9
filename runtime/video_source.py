"""The film in a video file: which stream it is, its frames in their order, and what of it did not come out."""

from __future__ import annotations

import os
import re
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from .errors import DefianError
from .files import FULL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ESTIMATED = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc"})
"""Formats whose header promises no duration; FFmpeg estimates one from what is there."""
TOLERANCE = Fraction(1, 2)
"""Seconds by which the duration of a whole file may be wrong; that of a stream is exact to two frames."""
PROGRESSIVE = (0, 1)
"""Of FFmpeg's field orders: unknown, progressive."""
DEINTERLACE = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")


def place_of(path: Path, mode: str) -> Any:  # noqa: ANN401 - text or an open file
    """What FFmpeg is given for a path: never a name that it could take for a protocol; a file where it is no text."""
    text = os.fspath(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return path.open(mode)
    return f"file:{text}"


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
        DefianError: there is no film.
    """
    films = [each for each in reader.streams.video if not is_picture(each)]
    if not films:
        pictures = len(reader.streams.video)
        said = f", only {pictures} attached picture{'s' * (pictures > 1)}" if pictures else ""
        raise DefianError(f"{source} holds no video{said}.")
    best = reader.streams.best("video")
    return best if best is not None and best.index in {each.index for each in films} else films[0]


def is_picture(stream: Any) -> bool:  # noqa: ANN401
    """Whether a video stream is a picture that is attached to the file, such as cover art."""
    names = {name for name, member in type(stream.disposition).__members__.items() if member & stream.disposition}
    return bool({"attached_pic", "timed_thumbnails", "still_image"} & names)


@dataclass(frozen=True)
class FirstLook:
    """What a film's first frame says.

    Attributes:
        turns: by how many quarters, counter-clockwise, a player turns the frames; 0 for an angle between.
        side_data: what it says beside its pixels, by FFmpeg's names.
    """

    turns: int = 0
    side_data: Mapping[str, bytes] = field(default_factory=dict)


def first_look(av: Any, source: Path) -> FirstLook:  # noqa: ANN401
    """Decode the first frame alone; nothing is said of a film that has none."""
    with av.open(place_of(source, "rb")) as reader, suppress(av.FFmpegError):
        for frame in reader.decode(film_stream(reader, source)):
            turns, rest = divmod(frame.rotation, 90)
            said = {name: bytes(data) for name, data in side_data_of(frame).items()}
            return FirstLook(0 if rest else turns % 4, said)
    return FirstLook()


def side_data_of(frame: Any) -> dict[str, Any]:  # noqa: ANN401 - a frame of PyAV's
    """What a frame says beside its pixels, by FFmpeg's names; PyAV to 18 lists the data, 19 the names."""
    found = frame.side_data
    data = (each if hasattr(each, "type") else found[each] for each in found)
    return {each.type.name: each for each in data}


@dataclass
class Ledger:
    """What a file's header promises, and what came out.

    Attributes:
        promised: packets of the film; 0 if the header does not say.
        until: when the film ends, in seconds; None if the header does not say.
        all_until: when the last of all streams ends; None if the header does not say.
        packets, frames, broken, corrupt: packets read, frames decoded, packets that were not decoded, and frames that
            the decoder has made up in part.
        end, all_end: when the last frame and the last packet of any stream ended.
        step: seconds of a frame.
    """

    promised: int
    until: Fraction | None
    all_until: Fraction | None
    step: Fraction
    packets: int = 0
    frames: int = 0
    broken: int = 0
    corrupt: int = 0
    end: Fraction = Fraction(0)
    all_end: Fraction = Fraction(0)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, reader: Any, stream: Any, rate: Fraction) -> Ledger:  # noqa: ANN401
        """What the header says."""
        exact = reader.format.name not in ESTIMATED
        duration = Fraction(reader.duration, 1_000_000) if exact and reader.duration else None
        start = Fraction(reader.start_time or 0, 1_000_000)
        tag = _seconds(stream.metadata.get("DURATION", ""))
        return cls(stream.frames, tag, None if duration is None else start + duration, 1 / rate)

    def packet(self, packet: Any, *, film: bool) -> None:  # noqa: ANN401
        """A packet was read."""
        if packet.size:
            self.packets += film
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and packet.time_base is not None:
                self.all_end = max(self.all_end, (time + (packet.duration or 0)) * packet.time_base)

    def frame(self, frame: Any) -> None:  # noqa: ANN401
        """A frame was decoded."""
        self.corrupt += bool(frame.is_corrupt)
        self.shown(None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base)

    def shown(self, time: Fraction | None) -> None:
        """A frame came out that is shown at a time, in seconds."""
        self.frames += 1
        if time is not None:
            self.end = max(self.end, time + self.step)

    def losses(self) -> list[str]:
        """What did not come out, in sentences; empty if all did."""
        found = []
        missing = self.promised - self.packets
        if missing > 0:
            found.append(f"the header promises {self.promised} frames, the file holds {self.packets}")
        elif self.until is not None and self.until - self.end > 2 * self.step + Fraction(1, 1000):
            found.append(f"the header promises {float(self.until):.2f} s, the film ends at {float(self.end):.2f} s")
        elif self.until is None and self.all_until is not None and self.all_until - self.all_end > TOLERANCE:
            ends = f"the file ends at {float(self.all_end):.2f} s"
            found.append(f"the header promises {float(self.all_until):.2f} s, {ends}")
        if self.broken:
            found.append(f"{self.broken} packets could not be decoded ({self.errors[0]})")
        if self.corrupt:
            found.append(f"{self.corrupt} frames are damaged")
        return found


def _seconds(text: str) -> Fraction | None:
    match = re.fullmatch(r"(\d{1,5}):(\d\d):(\d\d(?:\.\d{1,12})?)", text.strip())
    return None if match is None else 3600 * int(match[1]) + 60 * int(match[2]) + Fraction(match[3])


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
        for packet in self.reader.demux():
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
