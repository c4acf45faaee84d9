"""When the frames of a film are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fractions import Fraction

TIMELESS = frozenset({"avi"})
"""Formats that count frames in the order of decoding and have no times of display."""


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
