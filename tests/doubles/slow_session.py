"""Sessions that take a fixed time, and workers that say where they are, for runs on a cluster."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from defian_edge.runtime.opening import Opening
from tests.doubles.enlarger import Enlarger

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    import numpy as np


class Slow(Enlarger):
    """Repeats pixels and takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def __call__(self, images: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        return super().__call__(images)

    def upscale_frames(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        for frame in frames:
            yield self(frame[None])[0]


@dataclass(frozen=True)
class SlowOpening(Opening):
    """Opens a slow session, and leaves a file with the name of the process in a folder; more than once is more files.

    Attributes:
        folder: where.
        seconds: that a picture takes.
        deadly: a process ends at once when it meets a picture of this width, as where memory is short.
    """

    folder: Path = Path()
    seconds: float = 0.05
    deadly: int = 0

    def open(self) -> Slow:
        opened = len(list(self.folder.glob(f"{os.getpid()}.*")))
        (self.folder / f"{os.getpid()}.{opened}").touch()
        return Deadly(self.seconds, self.deadly) if self.deadly else Slow(self.seconds)


class Deadly(Slow):
    """A slow session that kills its process at pictures of one width."""

    def __init__(self, seconds: float, width: int) -> None:
        super().__init__(seconds)
        self.width = width

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if images.shape[2] == self.width:
            os._exit(1)
        return super().__call__(images)
