"""A film in parts: where it can be cut, the frames of a part, and the parts joined without encoding again.

A part goes from one key frame to another. Its frames are those that the whole film has between the two times: what is
decoded before or after them, as pictures that refer to the part before do, is dropped.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import DefianError
from .video_encoder import import_av
from .video_source import FilmReader, ffmpegs_faults, film_stream, opened_film, packets_of, says_interlaced
from .video_times import TIMELESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LEAST = 250
"""Frames of a part at least, but for the last one's."""
SUFFIX = ".part"
"""Of the files that parts become, behind the suffix of the whole result."""


class UncutError(DefianError):
    """A film that cannot be done in parts; whole it can."""


@dataclass(frozen=True)
class Part:
    """A stretch of a film.

    Attributes:
        index: counted from 0.
        start: time of its first frame, a key frame, in units of the film's time base.
        end: time of the next part's first frame; None for the last part.
        frames: how many there are.
    """

    index: int
    start: int
    end: int | None
    frames: int

    def name(self, film: Path) -> str:
        """Of its file; ``film`` is the whole result."""
        return f"{self.index:05}-{self.start}-{self.frames}{film.suffix}{SUFFIX}"


def parts_of(source: Path, least: int = LEAST) -> tuple[Part, ...]:
    """The parts of a film; one if it is short. Reads the file, and decodes nothing.

    Args:
        source: the film.
        least: frames of a part.

    Raises:
        UncutError: it has no times, is interlaced, or lacks what its header promises.
        DefianError: PyAV is missing, or the file cannot be read.
    """
    av = import_av()
    with ffmpegs_faults(av, source), opened_film(av, source) as reader:
        stream = film_stream(reader, source)
        if reader.format.name in TIMELESS or says_interlaced(av, stream, source):
            raise UncutError(f"{source} has no times, or is interlaced.")
        times, keys = _times(reader, stream, source)
    cuts: list[int] = []
    for key in keys:
        if not cuts or bisect_left(times, key) - bisect_left(times, cuts[-1]) >= least:
            cuts.append(key)
    places = [*(bisect_left(times, cut) for cut in cuts), len(times)]
    ends = [*cuts[1:], None]
    return tuple(Part(i, cuts[i], ends[i], places[i + 1] - places[i]) for i in range(len(cuts)))


def _times(reader: Any, stream: Any, source: Path) -> tuple[list[int], list[int]]:  # noqa: ANN401
    """Times of all frames and of the key frames, in their order."""
    times: list[int] = []
    keys: list[int] = []
    for packet in packets_of(reader, stream):
        if not packet.size:
            continue
        if packet.pts is None or packet.is_discard or packet.is_corrupt:
            raise UncutError(f"{source}: not every frame has a time and is shown.")
        times.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
    times.sort()
    keys.sort()
    if not keys or keys[0] != times[0] or len(set(times)) != len(times) or stream.frames not in (0, len(times)):
        raise UncutError(f"{source} does not begin with a key frame, or lacks frames.")
    return times, keys


class PartReader(FilmReader):
    """The frames of a part of a film.

    Args:
        av, reader, stream, source: of the film, as :class:`FilmReader`.
        part: which.
    """

    def __init__(self, av: Any, reader: Any, stream: Any, source: Path, part: Part) -> None:  # noqa: ANN401
        super().__init__(av, reader, stream, source)
        self._part = part

    def frames(self, other: Callable[[Any], None]) -> Iterator[Any]:  # noqa: ARG002 - nothing of other streams
        """The frames of the part.

        Raises:
            UncutError: they are not those that were counted.
            DefianError: the size changes in the middle.
        """
        part, context = self._part, self.stream.codec_context
        size = (context.width, context.height)
        for packet in self._from_key_frame():
            for frame in self._decoded(packet):
                if frame.pts is None or frame.interlaced_frame or frame.is_corrupt:
                    raise UncutError(f"{self.source}: a frame has no time, is interlaced, or damaged.")
                if part.end is not None and frame.pts >= part.end:
                    self._require_all()
                    return
                if frame.pts >= part.start:
                    if (frame.width, frame.height) != size:
                        raise UncutError(f"{self.source} changes its size.")
                    yield from self._whole(frame)
        self._require_all()

    def _require_all(self) -> None:
        if self.ledger.broken or self.ledger.frames != self._part.frames:
            expected = f"{self._part.frames} frames from {self._part.start}"
            raise UncutError(f"{self.source}: expected {expected}, found {self.ledger.frames}.")

    def _from_key_frame(self) -> Iterator[Any]:
        """Packets of the film from the part's key frame on, or from one before it."""
        for seek in (True, False):
            if seek:
                self.reader.seek(self._part.start, stream=self.stream)
            else:  # where the index of the file leads behind it
                self.reader.seek(0)
            packets = packets_of(self.reader, self.stream)
            first = next(packets, None)
            if first is not None and first.pts is not None and first.pts <= self._part.start:
                yield first
                yield from packets
                return
        raise UncutError(f"{self.source}: no packet found from {self._part.start}.")


def in_order(times: Sequence[int]) -> list[int]:
    """Times of decoding for packets whose times of display are given in the order of decoding.

    A frame is decoded at the time of display of the one that is shown so many places before it as reordering needs.
    """
    shown = sorted(times)
    place = {time: index for index, time in enumerate(shown)}
    delay = max((index - place[time] for index, time in enumerate(times)), default=0)
    lead = shown[delay] - shown[0] if times else 0
    return [shown[index - delay] if index >= delay else shown[index] - lead for index in range(len(times))]
