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
ABSOLUTE = frozenset({"flv", "matroska,webm"})
"""Formats whose header says when the film ends, and not how long it is: a recording of a stream may begin at 4000 s."""
STEPS = frozenset({"avi"})
"""Formats whose header promises steps, of which some may be empty: the frame before is shown once more. FFmpeg does not
tell of one at the end.
"""
EDITED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2"})
"""Formats that may hold frames which are cut away, as a telephone cuts a film: the header counts them, FFmpeg's index
does not.
"""
UNKNOWN_COUNT = 1 << 30
"""Frames that FFmpeg promises in an AVI file that it writes into a pipe."""
REGULAR = {"mxf": 1, "mpeg": 2}
"""Formats of broadcasting and discs, which promise no number of frames and have one at every step -> how many frames at
least a gap stands for; in an MPEG programme stream not every frame has a time of its own, so one may be a step off. An
MPEG transport stream is none: phones and screen recorders leave frames out of it, and what gets lost its counters show.
"""
DOUBTED = 2
"""Packets from one that is said to be damaged within which another recording may begin."""
JUMP = 10
"""Seconds from which on a gap is where another recording begins, as FFmpeg's own programs take it."""
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
        promised: packets of the film, or steps if some may be empty; 0 if the header does not say.
        until: when the film ends, in seconds; None if the header does not say.
        all_until: when the last of all streams ends; None if the header does not say.
        step: seconds of a frame.
        regular: frames that a gap stands for at least, in a format whose films have one at every step; 0 in others.
        one_to_one: whether every packet of the film is one frame that is shown.
        in_steps: whether what is promised are steps, of which some may be empty.
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
    in_steps: bool = False
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
    _steps: int = 0
    _doubted: list[int | None] = field(default_factory=list)

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
        all_until = None if duration is None else duration + (0 if kind in ABSOLUTE else start)
        one_to_one = stream.codec_context.name in ONE_TO_ONE
        promised = stream.frames
        if kind in EDITED:
            promised = min(promised, len(getattr(stream, "index_entries", range(promised))))  # which PyAV 14 lacks
        if promised >= UNKNOWN_COUNT:
            promised, all_until = 0, None
        return cls(promised, until, all_until, 1 / rate, REGULAR.get(kind, 0), one_to_one, kind in STEPS)

    def packet(self, packet: Any, *, film: bool) -> None:  # noqa: ANN401
        """A packet was read."""
        if packet.size:
            self.packets += film
            if film and self.in_steps and packet.dts is not None:
                self._steps = packet.dts + 2
            if film:
                self._weigh(packet)
            else:
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
        missing = self.promised - max(self.packets, self._steps)
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
        if damaged := self.damaged + bool(self._doubted):
            found.append(f"{damaged} packets are damaged")
        if self.corrupt:
            found.append(f"{self.corrupt} frames are damaged")
        if self.refused:
            found.append(f"{self.refused} packets of sound or subtitles do not fit in time to those before them")
        return found + self.faults

    def _weigh(self, packet: Any) -> None:  # noqa: ANN401
        """Count a damaged packet, unless one of the next two begins another recording and nothing is missing between.

        Where recordings are joined, the counters of a transport stream start anew. FFmpeg then calls the last packet
        before damaged, or the last but one.
        """
        if self._doubted:
            since = None if None in (packet.dts, self._doubted[-1]) else packet.dts - self._doubted[-1]
            missing = since is None or LATE * self.step < since * packet.time_base < JUMP
            if missing or (len(self._doubted) == DOUBTED and not packet.is_keyframe):
                self.damaged += 1
                self._doubted = []
            elif packet.is_keyframe:
                self._doubted = []
            else:
                self._doubted.append(packet.dts)
        if packet.is_corrupt:
            self.damaged += bool(self._doubted)
            self._doubted = [packet.dts]

    def _breaks_off(self) -> bool:
        return self.all_until is not None and self.all_until - self.all_end > LATE * self.step + TOLERANCE

    def _missing(self) -> int:
        """Frames for which there is a gap in time, where the others follow each other at every step."""
        if not self.regular:
            return 0
        times = sorted(self._times)
        gaps = [round((later - time) / self.step) - 1 for time, later in pairwise(times)]
        found = [gap for gap in gaps if self.regular <= gap < JUMP / self.step]
        return sum(found) if len(found) <= len(gaps) * MOST_GAPS else 0

    def _unseen(self) -> int:
        """Packets without a frame, those before the first frame aside: a film may begin where it cannot be decoded."""
        if not self.one_to_one or self._first is None:
            return 0
        return sum(time > self._first for time in self._awaited)


def _seconds(text: str) -> Fraction | None:
    match = re.fullmatch(r"(\d{1,5}):(\d\d):(\d\d(?:\.\d{1,12})?)", text.strip())
    return None if match is None else 3600 * int(match[1]) + 60 * int(match[2]) + Fraction(match[3])
