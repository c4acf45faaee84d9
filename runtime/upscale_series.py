"""Animations and files of several pages: every frame upscaled, into a file of the same kind."""

from __future__ import annotations

import struct
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from .errors import DefianError
from .files import cannot_write, rename_whole
from .images import extras_of, opened_series
from .series import GIF_COLOURS, require_side, series_writer
from .temporary import unfinished_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

    from .files import Written
    from .images import Photo, Series
    from .interface import Session


@dataclass(frozen=True)
class UpscaledSeries:
    """What was made.

    Attributes:
        frames: how many.
        written: the file.
        remarks: what the result has otherwise than its source.
    """

    frames: int
    written: Written
    remarks: tuple[str, ...]


def upscale_series(session: Session, source: Path, target: Path, kind: str, step: Callable[[], None]) -> UpscaledSeries:
    """Upscale all frames; durations and the number of loops stay, and the target appears whole or not at all.

    Args:
        session: what upscales.
        source: the file.
        target: the result, of the same format.
        kind: Pillow's name of the format.
        step: called after each frame.

    Raises:
        DefianError: a frame cannot be decoded or does not fit the engine, or the result cannot be written.
    """
    remarks: dict[str, None] = {}
    count = 0
    with opened_series(source) as series:
        try:
            with unfinished_file(target) as unfinished:
                with unfinished.open("w+b") as stream:
                    writer = series_writer(kind, stream, series.count, series.loops)
                    for upscaled, photo, milliseconds in _upscaled(session, series):
                        require_side(kind, upscaled.shape[1], upscaled.shape[0])
                        extras = extras_of(photo) if kind == "TIFF" or not count else {}
                        writer.add(Image.fromarray(upscaled), milliseconds, **extras)
                        remarks.update(dict.fromkeys(photo.remarks))
                        count += 1
                        step()
                    writer.finish()
                written = rename_whole(unfinished, target)
        except OSError as error:
            raise cannot_write(target, error) from error
        except struct.error as error:
            raise DefianError(f"{target} would be larger than {kind} can say.", "Cut the source in parts.") from error
    if kind == "GIF":
        remarks[f"{GIF_COLOURS} colours a frame, as GIF has"] = None
    return UpscaledSeries(count, written, tuple(remarks))


def _upscaled(session: Session, series: Series) -> Iterator[tuple[np.ndarray, Photo, float]]:
    """Results with what their frames say."""
    said: deque[tuple[Photo, float]] = deque()

    def pixels() -> Iterator[np.ndarray]:
        for photo, milliseconds in series.frames:
            said.append((photo, milliseconds))
            yield photo.pixels

    with closing(session.upscale_frames(pixels())) as results:
        for upscaled in results:
            yield upscaled, *said.popleft()
