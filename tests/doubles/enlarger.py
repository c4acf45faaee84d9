"""A session that repeats pixels: what surrounds a network can be tested without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from defian_edge.runtime.guard import FrameGuard
from defian_edge.runtime.manifest import Manifest
from defian_edge.runtime.profile import ShapeProfile

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from types import TracebackType

    import numpy as np


class Enlarger:
    """Every pixel becomes scale x scale equal ones; ``seen`` keeps the shapes of the batches."""

    def __init__(self, scale: int = 2, profile: str = "") -> None:
        self.manifest = Manifest("f", "0", "m", scale, "fp32", "uint8", "0", "")
        self.guard = FrameGuard()
        self.profile = ShapeProfile.parse(profile) if profile else None
        self.seen: list[tuple[int, ...]] = []
        self.closed = False

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.seen.append(images.shape)
        return images.repeat(self.manifest.scale, axis=1).repeat(self.manifest.scale, axis=2)

    def upscale_frames(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        for frame in frames:
            yield self(frame[None])[0]

    tiling: None = None
    cut: int = 0

    def timings(self) -> dict[str, float]:
        return {}

    def describe(self) -> str:
        return "enlarger"

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Any:  # noqa: ANN401
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
