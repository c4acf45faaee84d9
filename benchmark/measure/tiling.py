"""What tiles cost a candidate: its picture in tiles against its own picture in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.guard import FrameGuard
from defian_edge.runtime.manifest import Manifest
from defian_edge.runtime.tiles import TiledSession

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from types import TracebackType

    from defian_edge.benchmark.candidates import Candidate
    from defian_edge.calibration.drift.evaluation import Evaluation
    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.runtime.profile import ShapeProfile
    from defian_edge.runtime.tiling import Tiling


class EvaluatedSession:
    """How a candidate is evaluated, as a session that takes frames, so that it can be cut into tiles."""

    def __init__(self, candidate: Candidate, evaluate: Callable[[np.ndarray], Evaluation]) -> None:
        self._evaluate, self._candidate = evaluate, candidate
        self.guard = FrameGuard()
        self.manifest = candidate.manifest or Manifest(
            file=candidate.path.name,
            sha256=candidate.checkpoint_sha256,
            model=candidate.model,
            scale=candidate.scale,
            precision=candidate.precision,
            io="uint8",
            checkpoint_sha256=candidate.checkpoint_sha256,
            command="",
        )

    @property
    def profile(self) -> ShapeProfile | None:
        """The shapes that an engine accepts."""
        return self._candidate.profile

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Upscale uint8 RGB [N, H, W, 3] to uint8 RGB [N, sH, sW, 3]."""
        return np.stack([self._evaluate(image).image for image in images])

    def upscale_frames(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Upscale frames, uint8 RGB [H, W, 3], one by one."""
        for frame in frames:
            yield self._evaluate(np.ascontiguousarray(frame)).image

    tiling: None = None
    cut: int = 0

    def timings(self) -> dict[str, float]:
        """Nothing is timed."""
        return {}

    def describe(self) -> str:
        """What runs it."""
        return self._candidate.backend

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> EvaluatedSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def in_tiles(
    candidate: Candidate, evaluate: Callable[[np.ndarray], Evaluation], tiling: Tiling
) -> Callable[[np.ndarray], np.ndarray]:
    """Upscale uint8 RGB [H, W, 3] tile by tile, each as ``evaluate`` does it."""
    tiled = TiledSession(EvaluatedSession(candidate, evaluate), tiling)
    return lambda lr: tiled(lr[None])[0]


def require_fit(candidates: Sequence[Candidate], pairs: Sequence[EvaluationPair], tiling: Tiling | None) -> None:
    """Refuse images, or their tiles, that an engine does not take, before anything is measured.

    Raises:
        DefianError: with the image, its size and the engine's profile.
    """
    for candidate in candidates:
        profile = candidate.profile
        if profile is None or candidate.run is None:
            continue
        for pair in pairs:
            height, width = pair.lr.shape[:2]
            tile = (1, min(height, tiling.height), min(width, tiling.width)) if tiling else (1, height, width)
            for shape, what in (((1, height, width), "image"), (tile, "tile")):
                if not profile.contains(shape):
                    raise DefianError(
                        f"{candidate.name}: expected images inside the profile {profile}, found the {what} of "
                        f"{pair.name}, {shape[1]}x{shape[2]}.",
                        "Rebuild the engine with a wider --profile, or measure its drift on other images.",
                    )


def tile_remark(pairs: Sequence[EvaluationPair], tiling: Tiling | None) -> list[str]:
    """A sentence where the tile drift is that of few images, because the others fit in one tile."""
    if tiling is None:
        return []
    cut = sum(tiling.count(*pair.lr.shape[:2]) > 1 for pair in pairs)
    if cut == len(pairs):
        return []
    return [f"Only {cut} of {len(pairs)} images are larger than a tile of {tiling}; the others have no tile drift."]
