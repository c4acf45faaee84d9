"""Video through PyAV: every frame upscaled; timestamps, frame rate, colours and sound as they were.

Three threads: one decodes, the caller's runs the network, one encodes, so that the slowest of the three decides.
"""

from __future__ import annotations

import io
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from .channel import Channel, Crew, StoppedError
from .errors import FULL, DefianError
from .files import cannot_write, rename_whole
from .temporary import unfinished_file
from .video_colour import Colours
from .video_encoder import FORMATS, Encoding, import_av
from .video_packets import PacketWriter
from .video_parts import PartReader
from .video_source import FilmReader, ffmpegs_faults, film_stream, first_look, opened_film, place_of
from .video_survey import faults_of
from .video_target import FilmWriter, PartWriter
from .video_times import TIMELESS, FrameTimes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from .files import Written
    from .interface import Session
    from .video_parts import Part

DECODED, FINISHED = 2, 4
"""Decoded frames, and upscaled ones with the packets of sound between them, that wait at most."""


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


@dataclass(frozen=True)
class FilmPart:
    """A part of a video that was upscaled.

    Attributes:
        written: the file.
        side_data: what its frames say beside their pixels, by FFmpeg's names.
    """

    written: Written
    side_data: tuple[str, ...] = ()


def upscale_video(
    session: Session, source: Path, target: Path, step: Callable[[], None], encoding: Encoding | None = None
) -> Film:
    """Upscale a video; the target appears whole or not at all.

    Sound and subtitles are copied packet by packet, with languages, titles, dispositions, chapters and metadata.
    Colours keep matrix and range; a video that names no matrix is taken as BT.601 below 720 lines and as BT.709 from
    there on, and its result says so. A film that players turn by quarters or mirror is turned or mirrored, an
    interlaced one is deinterlaced.

    Args:
        session: what upscales the frames, in this thread.
        source: any video that FFmpeg reads.
        target: its suffix chooses the container.
        step: called after each frame, in this thread.
        encoding: how the result is encoded; H.264 if it is not said.

    Returns:
        What was made; it may lack what the source lacks, and then says so.

    Raises:
        DefianError: PyAV is missing, the video cannot be read or written, changes its size in the middle, or a frame
            does not fit the engine.
    """
    av = import_av()
    try:
        with unfinished_file(target) as unfinished:
            done = _transcode(av, session, (source, unfinished), encoding or Encoding(), step)
            return Film(done.count, rename_whole(unfinished, target), tuple(done.losses()), tuple(done.remarks()))
    except OSError as error:
        raise cannot_write(target, error) from error


def upscale_part(session: Session, source: Path, target: Path, part: Part, encoding: Encoding) -> FilmPart:
    """Upscale a part of a video, without sound; the target appears whole or not at all.

    Args:
        session: what upscales the frames, in this thread.
        source: the whole video.
        target: for ``join_film``; a name as of ``Part.name``.
        part: which part, of ``parts_of``.
        encoding: how the whole result is encoded.

    Raises:
        UncutError: the video cannot be done in parts.
        DefianError: as ``upscale_video``.
    """
    av = import_av()
    try:
        with unfinished_file(target) as unfinished:
            with unfinished.open("wb") as stream:
                done = _transcode_part(av, session, source, stream, (encoding, part, target.with_suffix("").suffix))
            return FilmPart(rename_whole(unfinished, target), tuple(sorted(done.side_data())))
    except OSError as error:
        raise cannot_write(target, error) from error


def _transcode(
    av: Any,  # noqa: ANN401
    session: Session,
    files: tuple[Path, Path],
    encoding: Encoding,
    step: Callable[[], None],
) -> _Transcoder:
    source, target = files
    with ExitStack() as stack, ffmpegs_faults(av, source):
        reader = stack.enter_context(opened_film(av, source))
        place = place_of(target, "wb")
        writer = stack.enter_context(av.open(place, "w", format=FORMATS[target.suffix.lower()]))
        transcoder = _Transcoder(av, session, (reader, writer), source, encoding)
        transcoder.run(step)
    return transcoder


def _transcode_part(
    av: Any,  # noqa: ANN401
    session: Session,
    source: Path,
    stream: BinaryIO,
    how: tuple[Encoding, Part, str],
) -> _Transcoder:
    encoding, part, suffix = how
    with ExitStack() as stack, ffmpegs_faults(av, source):
        reader = stack.enter_context(opened_film(av, source))
        writer = stack.enter_context(av.open(io.BytesIO(), "w", format=FORMATS[suffix.lower()]))
        transcoder = _Transcoder(av, session, (reader, writer), source, encoding, (part, stream))
        transcoder.run(lambda: None)
    return transcoder


class _Transcoder:
    """A film on its way: decoded in one thread, upscaled in the caller's, encoded in another.

    Of a part of a film the packets go to a file; the container says how the whole is encoded.
    """

    def __init__(
        self,
        av: Any,  # noqa: ANN401
        session: Session,
        containers: tuple[Any, Any],
        source: Path,
        encoding: Encoding,
        part: tuple[Part, BinaryIO] | None = None,
    ) -> None:
        reader, writer = containers
        self._av, self._session, self._source, self._encoding = av, session, source, encoding
        stream = film_stream(reader, source)
        stream.thread_type = "AUTO"
        look = first_look(av, source)
        self._look = look
        self._colours = Colours.of(stream.codec_context)
        how = (session.manifest.scale, encoding)
        if part is None:
            self._film = FilmReader(av, reader, stream, source)
            self._film.ledger.faults += faults_of(av, source)
            self._writer = FilmWriter(av, writer, self._film, look, how)
        else:
            self._film = PartReader(av, reader, stream, source, part[0])
            packets = PacketWriter(part[1], stream.time_base)
            self._writer = PartWriter(av, writer, self._film, look, how, packets)
        self._clock = FrameTimes(self._film.rate, stream.time_base, has_times=reader.format.name not in TIMELESS)
        self._frames: Channel[np.ndarray] = Channel(DECODED)
        self._finished: Channel[Any] = Channel(FINISHED)
        self._failure: BaseException | None = None

    @property
    def count(self) -> int:
        return self._writer.count

    def losses(self) -> list[str]:
        return self._film.ledger.losses()

    def remarks(self) -> list[str]:
        return self._writer.remarks()

    def side_data(self) -> set[str]:
        return self._film.side_data

    def run(self, step: Callable[[], None]) -> None:
        """All frames, in their order.

        Raises:
            DefianError: none can be decoded, or one does not fit.
            FFmpegError, OSError: of whichever thread.
        """
        with Crew(self._stop) as crew:
            crew.start(self._decode, "decoding")
            crew.start(self._encode, "encoding")
            try:
                with closing(self._session.upscale_frames(iter(self._frames))) as results:
                    for upscaled in results:
                        self._finished.put(upscaled)
                        step()
            except StoppedError:  # by the encoder's thread, whose error is raised below
                self._stop()
            self._finished.end()
        if self._failure is not None:
            raise self._encoders_fault(self._failure)
        if not self.count:
            raise DefianError(f"{self._source}: none of its frames can be decoded.", "Play it with ffplay.")

    def _encoders_fault(self, error: Any) -> BaseException:  # noqa: ANN401 - PyAV's errors are known when it is loaded
        """FFmpeg says the same of a source that it cannot read and of a result that it cannot write."""
        if not isinstance(error, self._av.FFmpegError) or error.errno in FULL:
            return error
        how = f"with {self._encoding.codec} into {self._writer.container}"
        return DefianError(
            f"{self._source}: its result, {self._writer.size}, cannot be written {how} ({error.strerror or error}).",
            "Choose another --video-codec; libx264 takes sides up to 16384.",
        )

    def _stop(self) -> None:
        self._frames.stop()
        self._finished.stop()

    def _decode(self) -> None:
        """Frames to the network as uint8 RGB; packets of sound that lie between them straight to the result."""
        try:
            for frame in self._film.frames(self._finished.put):
                self._writer.times.append(self._clock.next(frame))
                self._frames.put(self._look.upright(self._colours.to_rgb(frame)))
        except StoppedError:
            self._frames.stop()
        except BaseException as error:
            self._frames.end(error)
        else:
            self._frames.end()

    def _encode(self) -> None:
        try:
            for thing in self._finished:
                self._writer.take(thing)
            self._writer.finish()
        except StoppedError:
            return
        except BaseException as error:
            self._failure = error
            self._stop()
