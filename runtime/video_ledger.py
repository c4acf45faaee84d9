"""What a film's header promises, and what of it came out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

ESTIMATED = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc"})
"""Formats whose header promises no duration; FFmpeg estimates one from what is there."""
EXACT = frozenset({"mxf"})
"""Formats whose header says of every stream how long it is, in frames, and not how many there are."""
REGULAR = {"mpegts": 1, "mxf": 1, "mpeg": 2}
"""Formats of broadcasting and discs, which promise no number of frames and have one at every step -> how many frames at
least a gap stands for; in an MPEG programme stream not every frame has a time of its own, so one may be a step off."""
ONE_TO_ONE = frozenset(
    {"h264", "hevc", "av1", "libdav1d", "vp9", "ffv1", "mjpeg", "prores", "dnxhd", "png", "rawvideo"}
)
"""FFmpeg's decoders of which every packet is one frame that is shown."""
LATE = Fraction(3, 2)
"""Steps by which a film may end before the end that its header says, which is rounded."""
TOLERANCE = Fraction(1, 5)
"""Seconds by which the duration of a whole file may be wrong beside that: its sound may end within a packet."""
MOST_GAPS = Fraction(1, 10)
"""Share of a film's steps that may be longer than one in a film that has a frame at every step."""


@dataclass
class Ledger:
    """What a file's header promises, and what came out.

    Attributes:
        promised: packets of the film; 0 if the header does not say.
        until: when the film ends, in seconds; None if the header does not say.
        all_until: when the last of all streams ends; None if the header does not say.
        step: seconds of a frame.
        regular: frames that a gap stands for at least, in a format whose films have one at every step; 0 in others.
        one_to_one: whether every packet of the film is one frame that is shown.
        packets, frames, broken, corrupt: packets read, frames decoded, packets that were not decoded, and frames that
            the decoder has made up in part.
        damaged: packets of any stream that the file says, or its counters show, to be damaged.
        refused: packets of sound or subtitles that the result could not take.
        end, all_end: when the last frame and the last packet of any stream ended.
        errors: what the decoder said of the packets that were not decoded.
        faults: what else is wrong with the file, in sentences.
    """

    promised: int
    until: Fraction | None
    all_until: Fraction | None
    step: Fraction
    regular: int = 0
    one_to_one: bool = False
    packets: int = 0
    frames: int = 0
    broken: int = 0
    corrupt: int = 0
    damaged: int = 0
    refused: int = 0
    end: Fraction = Fraction(0)
    all_end: Fraction = Fraction(0)
    errors: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _times: list[Fraction] = field(default_factory=list)
    _awaited: set[int] = field(default_factory=set)
    _first: int | None = None

    @classmethod
    def of(cls, reader: Any, stream: Any, rate: Fraction) -> Ledger:  # noqa: ANN401
        """What the header says."""
        exact = reader.format.name not in ESTIMATED
        duration = Fraction(reader.duration, 1_000_000) if exact and reader.duration else None
        start = Fraction(reader.start_time or 0, 1_000_000)
        until = _seconds(stream.metadata.get("DURATION", ""))
        kind = reader.format.name
        if kind in EXACT and stream.duration:
            until = (stream.duration + (stream.start_time or 0)) * stream.time_base
        all_until = None if duration is None else start + duration
        one_to_one = stream.codec_context.name in ONE_TO_ONE
        return cls(stream.frames, until, all_until, 1 / rate, REGULAR.get(kind, 0), one_to_one)

    def packet(self, packet: Any, *, film: bool) -> None:  # noqa: ANN401
        """A packet was read."""
        if packet.size:
            self.packets += film
            self.damaged += packet.is_corrupt
            if film and packet.pts is not None and not packet.is_discard:
                self._awaited.add(packet.pts)
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and packet.time_base is not None:
                self.all_end = max(self.all_end, (time + (packet.duration or 0)) * packet.time_base)

    def frame(self, frame: Any) -> None:  # noqa: ANN401
        """A frame was decoded."""
        self.corrupt += bool(frame.is_corrupt)
        self.one_to_one = self.one_to_one and not frame.interlaced_frame  # fields may have packets of their own
        if frame.pts is None or frame.time_base is None:
            self.shown(None)
            return
        self._awaited.discard(frame.pts)
        self._first = frame.pts if self._first is None else min(self._first, frame.pts)
        self.shown(frame.pts * frame.time_base, (frame.duration or 0) * frame.time_base)

    def shown(self, time: Fraction | None, duration: Fraction = Fraction(0)) -> None:
        """A frame came out that is shown at a time, in seconds, and as long as it says, or else for a step."""
        self.frames += 1
        if time is not None:
            self.end = max(self.end, time + max(self.step, duration))
            if self.regular:
                self._times.append(time)

    def losses(self) -> list[str]:
        """What did not come out, in sentences; empty if all did."""
        found = []
        missing = self.promised - self.packets
        if missing > 0:
            found.append(f"the header promises {self.promised} frames, the file holds {self.packets}")
        elif self.until is not None and self.until - self.end > LATE * self.step:
            found.append(f"the header promises {float(self.until):.2f} s, the film ends at {float(self.end):.2f} s")
        elif self.until is None and self._breaks_off():
            ends = f"the file ends at {float(self.all_end):.2f} s"
            found.append(f"the header promises {float(self.all_until or 0):.2f} s, {ends}")
        elif gap := self._missing():
            found.append(f"{gap} frames are missing between others")
        if self.broken:
            found.append(f"{self.broken} packets could not be decoded ({self.errors[0]})")
        elif unseen := self._unseen():
            found.append(f"{unseen} packets gave no picture")
        if self.damaged:
            found.append(f"{self.damaged} packets are damaged")
        if self.corrupt:
            found.append(f"{self.corrupt} frames are damaged")
        if self.refused:
            found.append(f"{self.refused} packets of sound or subtitles do not fit in time to those before them")
        return found + self.faults

    def _breaks_off(self) -> bool:
        return self.all_until is not None and self.all_until - self.all_end > LATE * self.step + TOLERANCE

    def _missing(self) -> int:
        """Frames for which there is a gap in time, where the others follow each other at every step."""
        if not self.regular:
            return 0
        times = sorted(self._times)
        gaps = [round((later - time) / self.step) - 1 for time, later in pairwise(times)]
        found = [gap for gap in gaps if gap >= self.regular]
        return sum(found) if len(found) <= len(gaps) * MOST_GAPS else 0

    def _unseen(self) -> int:
        """Packets without a frame, those before the first frame aside: a film may begin where it cannot be decoded."""
        if not self.one_to_one or self._first is None:
            return 0
        return sum(time > self._first for time in self._awaited)


def _seconds(text: str) -> Fraction | None:
    match = re.fullmatch(r"(\d{1,5}):(\d\d):(\d\d(?:\.\d{1,12})?)", text.strip())
    return None if match is None else 3600 * int(match[1]) + 60 * int(match[2]) + Fraction(match[3])
