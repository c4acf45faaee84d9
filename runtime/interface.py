"""What every session can do, whichever backend runs it, and what every session refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from runtime.guard import FrameGuard
    from runtime.manifest import Manifest
    from runtime.profile import ShapeProfile


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

    def upscale_frames(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Upscale frames, uint8 RGB [H, W, 3], in their order; takes the next frame only when a result is asked for.

        Raises:
            DefianError: as ``__call__``; the frames before the bad one have been given out.
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
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DefianError(f"Expected uint8 RGB images [N, H, W, 3], found {images.dtype} {list(images.shape)}.")
    if images.shape[0] < 1 or images.shape[1] * images.shape[2] < 2:
        raise DefianError(
            f"Expected at least one image of at least two pixels, found {list(images.shape)}.",
            "The network normalises by the variance over the image, which one pixel does not have.",
        )


def require_uint8_io(manifest: Manifest) -> None:
    """Refuse a graph or engine with float I/O.

    Raises:
        DefianError: the manifest says anything but ``uint8``.
    """
    if manifest.io != "uint8":
        raise DefianError(
            f"{manifest.file} has {manifest.io} I/O; the runtime runs files with uint8 I/O.",
            "Export it again with --io uint8.",
        )
