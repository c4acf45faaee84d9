"""Video through PyAV: every frame upscaled; timestamps, frame rate, colours and sound as they were."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DefianError, MissingPackageError
from .files import FULL, cannot_write, rename_whole
from .temporary import unfinished_file
from .video_copy import copied_streams, keep_facts
from .video_source import FilmReader, film_stream, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .files import Written
    from .interface import Session

KEPT_CONTAINERS = frozenset({".mp4", ".mkv", ".mov", ".m4v"})
"""Containers that take H.264; others become .mkv."""

TIMELESS = frozenset({"avi"})
"""Formats that count frames in the order of decoding and have no times of display."""

CODEC = "libx264"
QUALITY = {"crf": "16", "preset": "medium"}
BT601, BT709 = 5, 1
"""Colour matrices by their numbers in ITU-T H.273 (5: BT.470 System B, G, which has BT.601's)."""
FULL_RANGE, STUDIO_RANGE = 2, 1
HIGH_DEFINITION = 720
SWSCALE_MATRIX = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020", 10: "BT2020"}
"""H.273's number -> FFmpeg's name of the conversion."""


def import_av() -> Any:  # noqa: ANN401 - an optional package
    """The ``av`` module.

    Raises:
        MissingPackageError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError("av", "video", "Upscaling video") from error
    return av


@dataclass(frozen=True)
class Film:
    """A video that was upscaled.

    Attributes:
        frames: how many.
        written: the file.
        losses: what the header promises and did not come out; empty if all did.
        remarks: what the result does not have of its source, or has otherwise.
    """

    frames: int
    written: Written
    losses: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def upscale_video(session: Session, source: Path, target: Path, step: Callable[[], None]) -> Film:
    """Upscale a video; the target appears whole or not at all.

    Sound and subtitles are copied packet by packet, with languages, titles, dispositions, chapters and metadata.
    Colours keep matrix and range; a video that names no matrix is taken as BT.601 below 720 lines and as BT.709 from
    there on, and its result says so. A film that players turn by quarters is turned, an interlaced one is deinterlaced.

    Args:
        session: what upscales the frames.
        source: any video that FFmpeg reads.
        target: its suffix chooses the container.
        step: called after each frame.

    Returns:
        What was made; it may lack what the source lacks, and then says so.

    Raises:
        DefianError: PyAV is missing, the video cannot be read or written, changes its size in the middle, or a frame
            does not fit the engine.
    """
    av = import_av()
    try:
        with unfinished_file(target) as unfinished:
            done = _transcode(av, session, (source, unfinished), step)
            return Film(done.count, rename_whole(unfinished, target), tuple(done.losses()), tuple(done.remarks))
    except OSError as error:
        raise cannot_write(target, error) from error


def _transcode(
    av: Any,  # noqa: ANN401
    session: Session,
    files: tuple[Path, Path],
    step: Callable[[], None],
) -> _Transcoder:
    source, target = files
    formats = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov", ".m4v": "ipod"}
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(av.open(place_of(source, "rb")))
            place = place_of(target, "wb")
            writer = stack.enter_context(av.open(place, "w", format=formats[target.suffix.lower()]))
            transcoder = _Transcoder(av, session, reader, writer, source)
            transcoder.run(step)
        except av.FFmpegError as error:
            if error.errno in FULL:
                raise OSError(error.errno, error.strerror) from error
            raise DefianError(
                f"{source}: {error.strerror or error}.", "Play it with ffplay, or leave it out."
            ) from error
    return transcoder


def _quarter_turns(av: Any, source: Path) -> int:  # noqa: ANN401
    """By how many quarters, counter-clockwise, a player turns the video's frames; 0 for an angle between."""
    with av.open(place_of(source, "rb")) as reader, suppress(av.FFmpegError):
        for frame in reader.decode(film_stream(reader, source)):
            turns, rest = divmod(frame.rotation, 90)
            return 0 if rest else turns % 4
    return 0


class FrameTimes:
    """When frames are shown, in units of the stream's time base: as the file says, and always rising.

    A frame without a time, or with one that is not later than the last, comes one frame after the last.

    Args:
        rate: frames per second.
        time_base: seconds of one unit.
        has_times: whether the file says when frames are shown; if not they come as they are decoded, from 0.
    """

    def __init__(self, rate: Fraction, time_base: Fraction, *, has_times: bool) -> None:
        self._step = max(1, round(1 / (rate * time_base)))
        self._has_times = has_times
        self._first: int | None = None
        self._last: int | None = None

    def next(self, frame: Any) -> int:  # noqa: ANN401 - a VideoFrame
        """The time of the next frame."""
        time: int | None = frame.pts
        if not self._has_times:
            self._first = frame.dts if self._first is None else self._first
            time = None if frame.dts is None or self._first is None else frame.dts - self._first
        if self._last is None:
            time = time or 0
        elif time is None or time <= self._last:
            time = self._last + self._step
        self._last = time
        return time


class _Transcoder:
    def __init__(self, av: Any, session: Session, reader: Any, writer: Any, source: Path) -> None:  # noqa: ANN401
        self._av, self._session = av, session
        self._reader, self._writer, self._source = reader, writer, source
        self._input = film_stream(reader, source)
        self._input.thread_type = "AUTO"
        self._turns = _quarter_turns(av, source)
        self._times: deque[int] = deque()
        self.count = 0
        context = self._input.codec_context
        self._range = int(context.color_range) or STUDIO_RANGE
        self._matrix = int(context.colorspace)
        if self._matrix not in SWSCALE_MATRIX:
            self._matrix = BT709 if context.height >= HIGH_DEFINITION else BT601
        rate = self._input.average_rate or self._input.guessed_rate or Fraction(25)
        self._film = FilmReader(av, reader, self._input, source, rate)
        self._output = self._video_stream(context, rate)
        self._copied, self.remarks = copied_streams(reader, writer, self._input, source)
        keep_facts(reader, writer, self._input, self._output)
        if self._deep:
            self.remarks.append("10 bits a channel in the result, 8 in the network")

    def losses(self) -> list[str]:
        return self._film.ledger.losses()

    @property
    def _deep(self) -> bool:
        """Whether the source has more than 8 bits a channel."""
        kind = self._input.codec_context.format
        return kind is not None and max(each.bits for each in kind.components) > 8

    def _video_stream(self, context: Any, rate: Fraction) -> Any:  # noqa: ANN401
        scale = self._session.manifest.scale
        has_times = self._reader.format.name not in TIMELESS
        self._clock = FrameTimes(rate, self._input.time_base, has_times=has_times)
        stream = self._writer.add_stream(CODEC, rate=rate, options=dict(QUALITY))
        sides, aspect = (context.width, context.height), context.sample_aspect_ratio or Fraction(1)
        if self._turns % 2:
            sides, aspect = sides[::-1], 1 / aspect
        stream.width, stream.height = scale * sides[0], scale * sides[1]
        subsampled = "yuv420p" if stream.width % 2 == stream.height % 2 == 0 else "yuv444p"
        stream.pix_fmt = subsampled + "10le" * self._deep
        stream.codec_context.time_base = self._input.time_base
        stream.codec_context.color_range = self._range
        stream.codec_context.colorspace = self._matrix
        stream.codec_context.color_primaries = context.color_primaries
        stream.codec_context.color_trc = context.color_trc
        stream.codec_context.sample_aspect_ratio = aspect
        return stream

    def run(self, step: Callable[[], None]) -> None:
        with closing(self._session.upscale_frames(self._frames())) as results:
            for upscaled in results:
                self._writer.mux(self._output.encode(self._encoded(upscaled)))
                self.count += 1
                step()
        if not self.count:
            raise DefianError(f"{self._source}: none of its frames can be decoded.", "Play it with ffplay.")
        self._writer.mux(self._output.encode(None))
        if self._film.deinterlaced:
            self.remarks.append(f"{self._film.deinterlaced} frames were interlaced, and are deinterlaced")

    def _other(self, packet: Any) -> None:  # noqa: ANN401
        if packet.stream.index in self._copied:
            packet.stream = self._copied[packet.stream.index]
            self._writer.mux(packet)

    def _frames(self) -> Iterator[np.ndarray]:
        """Decoded frames as uint8 RGB; packets of sound that lie between them go straight to the result."""
        for frame in self._film.frames(self._other):
            self._times.append(self._clock.next(frame))
            rgb = frame.reformat(
                format="rgb24",
                interpolation="BICUBIC",
                src_colorspace=SWSCALE_MATRIX[self._matrix],
                src_color_range=self._range,
                dst_color_range=FULL_RANGE,
            )
            yield np.rot90(rgb.to_ndarray(), self._turns) if self._turns else rgb.to_ndarray()

    def _encoded(self, upscaled: np.ndarray) -> Any:  # noqa: ANN401 - a VideoFrame
        rgb = self._av.VideoFrame.from_ndarray(upscaled, format="rgb24")
        frame = rgb.reformat(
            format=self._output.pix_fmt,
            interpolation="BICUBIC",
            src_color_range=FULL_RANGE,
            dst_colorspace=SWSCALE_MATRIX[self._matrix],
            dst_color_range=self._range,
        )
        frame.pts, frame.time_base = self._times.popleft(), self._input.time_base
        return frame
