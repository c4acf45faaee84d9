"""What tiling costs: the result in tiles against the result in one piece, over sizes and overlaps.

    python -m tools.tiling build/defian-s-x2.fp32.onnx --tile 64 128 192 --overlap 0 16 32

The network takes averages over the whole image, so tiles change its result even where they overlap.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.calibration.drift.metrics import psnr, psnr_y
from defian_edge.calibration.photos import bundled_photos
from defian_edge.runtime.arguments import count_of, path_of
from defian_edge.runtime.images import downscale, images_in, read_image
from defian_edge.runtime.session import open_session
from defian_edge.runtime.tiles import TiledSession
from defian_edge.runtime.tiling import Tiling
from tools.study import message, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from defian_edge.runtime.interface import Session

PHOTOS = ("astronaut.png", "coffee.png", "motorcycle_left.png")
"""Photos that scikit-image ships."""


@dataclass(frozen=True)
class TileDrift:
    """One tile size and overlap, over all photos.

    Attributes:
        tiling: size and overlap in LR pixels.
        psnr_to_whole: mean PSNR against the result in one piece, all channels, dB.
        drift: mean change of the PSNR-Y against the original, dB; below 0 is a loss.
        worst: the same of the worst photo.
        work: LR pixels computed per LR pixel of the photos.
    """

    tiling: Tiling
    psnr_to_whole: float
    drift: float
    worst: float
    work: float


def measure(session: Session, photos: Sequence[NDArray[np.uint8]], tilings: Sequence[Tiling]) -> Iterator[TileDrift]:
    """Upscale each photo's LR in one piece and in tiles.

    Args:
        session: takes any shape.
        photos: HR, uint8 RGB [H, W, 3].
        tilings: what to try; a photo of a single tile counts as it is.
    """
    scale = session.manifest.scale
    pairs = [downscale(photo, scale) for photo in photos]
    whole = [session(lr[None])[0] for lr, _ in pairs]
    before = [psnr_y(image, hr, scale) for image, (_, hr) in zip(whole, pairs, strict=True)]
    for tiling in tilings:
        tiled = TiledSession(session, tiling)
        images = [tiled(lr[None])[0] for lr, _ in pairs]
        after = [psnr_y(image, hr, scale) for image, (_, hr) in zip(images, pairs, strict=True)]
        drift = np.subtract(after, before)
        work = [
            tiling.count(*lr.shape[:2])
            * (min(tiling.height, lr.shape[0]) * min(tiling.width, lr.shape[1]) / (lr.shape[0] * lr.shape[1]))
            for lr, _ in pairs
        ]
        to_whole = [psnr(image, reference) for image, reference in zip(images, whole, strict=True)]
        yield TileDrift(tiling, float(np.mean(to_whole)), float(drift.mean()), float(drift.min()), float(np.mean(work)))


def main(arguments: list[str] | None = None) -> None:
    """Print the table in Markdown; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiling", description="Measure what tiling costs.")
    parser.add_argument("graph", type=path_of("GRAPH"), help="a .onnx file built by export.py")
    photos = path_of("--photos")
    parser.add_argument("--photos", type=photos, help="folder of HR photos; default: three that scikit-image ships")
    tile, overlap = (count_of(option, 0, 50_000) for option in ("--tile", "--overlap"))
    parser.add_argument("--tile", type=tile, nargs="+", default=[64, 96, 128, 192], help="sides of square tiles")
    parser.add_argument("--overlap", type=overlap, nargs="+", default=[0, 8, 16, 32])
    options = parsed(parser, arguments)
    with message():
        paths = images_in(options.photos) if options.photos else bundled_photos(PHOTOS)
        tilings = [Tiling(side, side, overlap) for side in options.tile for overlap in options.overlap]
        print(
            "| tile | overlap | PSNR to whole dB | mean drift dB | worst drift dB | work |\n|---|---|---|---|---|---|"
        )
        with open_session(options.graph) as session:
            for row in measure(session, [read_image(path) for path in paths], tilings):
                size = f"| {row.tiling.height} | {row.tiling.overlap} | {row.psnr_to_whole:.1f} "
                print(f"{size}| {row.drift:+.4f} | {row.worst:+.4f} | {row.work:.2f} |", flush=True)


if __name__ == "__main__":
    main()
