"""Large images in tiles that overlap and are blended.

The network takes averages over the whole image, so an image in tiles is another image: ``docs/runtime.md`` has the
measured difference, from which the defaults here are chosen. Tiles are therefore used only where they are asked for
or an image does not fit the engine.
"""

from __future__ import annotations

from contextlib import closing
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np

from .interface import check_frame, check_images
from .memory import fits
from .tiling import DEFAULT_OVERLAP, Tiling, starts, tiles_that_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

    from .guard import FrameGuard
    from .interface import Session
    from .manifest import Manifest
    from .profile import ShapeProfile


def weights(length: int, tile: int, overlap: int, scale: int) -> list[NDArray[np.float32]]:
    """For each tile along an axis its share of each of its ``scale * tile`` output pixels; shares add up to 1.

    Two neighbours are cross-faded in the middle of what they share, over half the overlap: the pixels next to a
    tile's edge, where the network sees zeros instead of the neighbour, count for nothing.
    """
    begin = starts(length, tile, overlap)
    size = min(tile, length)
    shares = [np.ones(scale * size, np.float32) for _ in begin]
    for index, (here, following) in enumerate(pairwise(begin)):
        middle = scale * (following + here + size) / 2
        fade = max(scale * overlap / 2, 1e-6)
        for share, start, rising in ((shares[index], here, False), (shares[index + 1], following, True)):
            position = scale * start + np.arange(share.size) + 0.5
            ramp = np.clip((position - middle) / fade + 0.5, 0.0, 1.0).astype(np.float32)
            np.multiply(share, ramp if rising else 1 - ramp, out=share)
    return shares


def upscale_in_tiles(
    upscale_frames: Callable[[Iterator[np.ndarray]], Generator[np.ndarray, None, None]],
    image: NDArray[np.uint8],
    tiling: Tiling,
    scale: int,
) -> NDArray[np.uint8]:
    """Upscale uint8 RGB [H, W, 3] to [sH, sW, 3] tile by tile, each at most as large as the tiling says.

    Args:
        upscale_frames: tiles, uint8 RGB [h, w, 3] -> their results [sh, sw, 3], in order.
        image: the whole.
        tiling: size and overlap.
        scale: of the network.
    """
    height, width, _ = image.shape
    rows, columns = (
        starts(length, tile, tiling.overlap) for length, tile in ((height, tiling.height), (width, tiling.width))
    )
    row_shares = weights(height, tiling.height, tiling.overlap, scale)
    column_shares = weights(width, tiling.width, tiling.overlap, scale)
    upscaled = np.empty((scale * height, scale * width, 3), np.uint8)
    # Only a band of tiles is kept in float: rows above the next band are complete and are rounded.
    band = np.zeros((row_shares[0].size, scale * width, 3), np.float32)
    cut = (image[row : row + tiling.height, left : left + tiling.width] for row in rows for left in columns)
    with closing(upscale_frames(cut)) as tiles:
        for row, share, following in zip(rows, row_shares, [*rows[1:], height], strict=True):
            for column, column_share in zip(columns, column_shares, strict=True):
                across = slice(scale * column, scale * column + column_share.size)
                band[:, across] += next(tiles) * (share[:, None] * column_share)[..., None]
            done = scale * (following - row)
            upscaled[scale * row : scale * following] = np.rint(band[:done])
            band[: band.shape[0] - done] = band[done:].copy()
            band[band.shape[0] - done :] = 0
    return upscaled


class TiledSession:
    """A session that cuts images into tiles; the same interface. It owns the session inside and closes it.

    Args:
        session: what upscales the tiles; an engine works on the next tile while the last is blended.
        tiling: size and overlap.
        always: cut every image; otherwise only those that do not fit the engine's profile, or for which ``fits``, given
            their pixels, says no.
        fits: whether there is memory for so many LR pixels at once.

    Attributes:
        cut: how many images have been cut.
    """

    def __init__(
        self, session: Session, tiling: Tiling, *, always: bool = True, fits: Callable[[int], bool] = lambda _: True
    ) -> None:
        self._session = session
        self.tiling = tiling
        self._always = always
        self._fits = fits
        self.cut = 0
        self.manifest: Manifest = session.manifest
        self.guard: FrameGuard = session.guard

    @property
    def profile(self) -> ShapeProfile | None:
        """None: any image is cut to fit."""
        return None

    def is_cut(self, shape: tuple[int, int, int]) -> bool:
        """Whether a batch of this (batch, height, width) goes in tiles."""
        inner = self._session.profile
        if self._always or (inner is not None and not inner.contains(shape)):
            return True
        batch, height, width = shape
        return height * width > self.tiling.height * self.tiling.width and not self._fits(batch * height * width)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Upscale uint8 RGB [N, H, W, 3] to uint8 RGB [N, sH, sW, 3], tile by tile where need be.

        Raises:
            DefianError: as the session inside, for a tile.
        """
        check_images(images)
        if not self.is_cut((images.shape[0], images.shape[1], images.shape[2])):
            return self._session(images)
        return np.stack([self._upscale(image) for image in images])

    def _upscale(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.cut += 1
        return upscale_in_tiles(self._session.upscale_frames, image, self.tiling, self.manifest.scale)

    def upscale_frames(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Upscale frames, uint8 RGB [H, W, 3], in their order, each in tiles where need be.

        Frames that need none go through the session inside as a stream, which an engine overlaps.

        Raises:
            DefianError: as ``__call__``.
        """
        for is_cut, run in groupby(frames, key=lambda frame: self.is_cut(check_frame(frame))):
            if is_cut:
                for frame in run:
                    yield self(frame[None])[0]
            else:
                yield from self._session.upscale_frames(run)

    def timings(self) -> dict[str, float]:
        """As the session inside: of its last call, which may be of one tile."""
        return self._session.timings()

    def describe(self) -> str:
        """As the session inside, and the tiles."""
        when = "tiles" if self._always else "tiles where an image does not fit"
        return f"{self._session.describe()}, {when}: {self.tiling}"

    def close(self) -> None:
        """Close the session inside."""
        self._session.close()

    def __enter__(self) -> TiledSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def in_tiles_where_needed(session: Session, provider: str = "cpu", overlap: int = DEFAULT_OVERLAP) -> Session:
    """A session that cuts what does not fit: an engine's profile, or the free memory where a graph runs on the CPU.

    What runs a graph on a GPU is given back as it is: how much memory it takes there is not known.
    """
    if session.profile is not None:
        return TiledSession(session, tiles_that_fit(session.profile, overlap), always=False)
    if provider != "cpu":
        return session
    return TiledSession(session, tiles_that_fit(None, overlap), always=False, fits=fits)
