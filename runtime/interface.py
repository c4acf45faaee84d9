"""What every session can do, whichever backend runs it, and what every session refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from .errors import DefianError
from .manifest import command_with

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from types import TracebackType

    from .guard import FrameGuard
    from .manifest import Manifest
    from .profile import ShapeProfile
    from .tiling import Tiling


@runtime_checkable
class Session(Protocol):
    """A network ready to upscale. Leaving the ``with`` block frees everything; one session belongs to one thread."""

    manifest: Manifest
    guard: FrameGuard

    @property
    def profile(self) -> ShapeProfile | None:
        """The shapes it accepts; None for any."""
        ...

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Upscale uint8 RGB [N, H, W, 3] to uint8 RGB [N, sH, sW, 3].

        Raises:
            DefianError: another type, a shape outside the profile, or a failure of the device.
        """
        ...

    def upscale_frames(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Upscale frames, uint8 RGB [H, W, 3], in their order; takes the next frame only when a result is asked for.

        A bad frame, or an exception from ``frames``, comes after the results of the frames before it. Closing the
        generator frees what is under way.

        Raises:
            DefianError: as ``__call__``.
        """
        ...

    @property
    def tiling(self) -> Tiling | None:
        """The tiles into which images are cut, always or where they do not fit; None where none ever is."""
        ...

    @property
    def cut(self) -> int:
        """How many images have been cut into tiles."""
        ...

    def timings(self) -> dict[str, float]:
        """Seconds that the parts of the last call took, by name; empty before the first and where nothing tells them.

        ``enqueue`` is the host's; ``h2d``, ``compute`` and ``d2h`` are the device's.
        """
        ...

    def describe(self) -> str:
        """Model, precision, and what runs it."""
        ...

    def close(self) -> None:
        """Free everything; again is harmless."""
        ...

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_images(images: np.ndarray) -> None:
    """Refuse what the network cannot take: the wrong shape or type, or one pixel, whose variance is undefined.

    Raises:
        DefianError: with what was expected and what was found.
    """
    if not isinstance(images, np.ndarray):
        raise DefianError(f"Expected a numpy array of uint8 RGB images [N, H, W, 3], found {type(images).__name__}.")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DefianError(
            f"Expected uint8 RGB images [N, H, W, 3], found {images.dtype} {list(images.shape)}.",
            "A frame [H, W, 3] becomes a batch by frame[None]; grey, RGBA and float images have to be converted.",
        )
    if images.shape[0] < 1 or images.shape[1] * images.shape[2] < 2:
        raise DefianError(
            f"Expected at least one image of at least two pixels, found {list(images.shape)}.",
            "A network may normalise by the variance over the image, which one pixel does not have.",
        )


def check_frame(frame: np.ndarray) -> tuple[int, int, int]:
    """Refuse a frame that is not uint8 RGB [H, W, 3]; returns (1, H, W).

    Raises:
        DefianError: with what was expected and what was found.
    """
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:
        found = list(frame.shape) if isinstance(frame, np.ndarray) else type(frame).__name__
        raise DefianError(f"Expected a frame as uint8 RGB [H, W, 3], found {found}.")
    check_images(frame[None])
    return 1, frame.shape[0], frame.shape[1]


def require_uint8_io(manifest: Manifest) -> None:
    """Refuse a graph or engine with float I/O.

    Raises:
        DefianError: the manifest says anything but ``uint8``.
    """
    if manifest.io != "uint8":
        raise DefianError(
            f"{manifest.file}: expected uint8 I/O, found {manifest.io} I/O.",
            f"Export it again: {command_with(manifest.command, '--io', 'uint8')}",
        )
