"""PSNR and SSIM of a result against its original, as the super-resolution literature measures them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DefianError, MissingPackageError
from .images import SUFFIXES, read_image
from .verify.figures import PEAK, luma, psnr_y

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 11


@dataclass(frozen=True)
class Quality:
    """PSNR-Y in dB (infinite for equal images) and SSIM-Y."""

    psnr: float
    ssim: float

    def __str__(self) -> str:
        return f"PSNR-Y {self.psnr:.3f} dB, SSIM-Y {self.ssim:.4f}"


def require_scikit_image() -> Any:  # noqa: ANN401 - an optional package
    """``skimage.metrics``.

    Raises:
        MissingPackageError: scikit-image is not installed.
    """
    try:
        from skimage import metrics
    except ImportError as error:
        raise MissingPackageError("scikit-image", "compare", "--compare") from error
    return metrics


def compare(upscaled: NDArray[np.uint8], original: NDArray[np.uint8], scale: int) -> Quality:
    """Quality on Y of BT.601, studio range, without ``scale`` pixels at each border.

    Args:
        upscaled: uint8 RGB [H, W, 3].
        original: the same; up to ``scale - 1`` more rows and columns, which do not count.
        scale: of the network.

    Raises:
        DefianError: the sizes do not belong together, the image is too small for SSIM's 11x11 window, or
            scikit-image is missing.
    """
    require_scikit_image()
    (height, width, _), (rows, columns, _) = upscaled.shape, original.shape
    if not (0 <= rows - height < scale and 0 <= columns - width < scale):
        raise DefianError(f"The original is {columns}x{rows}, expected {width}x{height} as the result.")
    if min(height, width) - 2 * scale < WINDOW:
        raise DefianError(f"{width}x{height} is too small to compare: SSIM needs {WINDOW} pixels inside the border.")
    reference = original[:height, :width]
    return Quality(psnr_y(upscaled, reference, scale), ssim_y(upscaled, reference, scale))


def ssim_y(image: NDArray[np.uint8], reference: NDArray[np.uint8], border: int) -> float:
    """Structural similarity on Y: 11x11 Gaussian window, sigma 1.5, as in Wang et al. 2004.

    Args:
        image: uint8 RGB [H, W, 3].
        reference: the same.
        border: pixels at each side that do not count; inside it, at least 11x11 are needed.

    Raises:
        MissingPackageError: scikit-image is not installed.
    """
    similarity = require_scikit_image().structural_similarity(
        luma(image, border),
        luma(reference, border),
        data_range=PEAK,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(np.asarray(similarity))


def original_of(result: Path, originals: Path, root: Path, scale: int) -> NDArray[np.uint8]:
    """The original that belongs to a result: the file itself, or that of the same relative name in a folder.

    Args:
        result: the upscaled file.
        originals: a file or a folder of originals.
        root: the folder below which results lie.
        scale: of the network, which DIV2K puts behind the names of its LR images.

    Raises:
        DefianError: there is none, or it cannot be read.
    """
    if originals.is_file():
        return read_image(originals)
    place = originals / result.relative_to(root)
    stem = place.stem
    photos = [path for path in sorted(place.parent.glob("*")) if path.suffix.lower() in SUFFIXES]
    by_name, by_stem = ({path.name: path for path in photos}, {path.stem: path for path in reversed(photos)})
    shorter = Path(stem).stem if Path(stem).suffix.lower() in SUFFIXES else stem  # cat.jpg.png, of cat.jpg
    found = (
        by_name.get(place.name)
        or by_name.get(stem)
        or by_stem.get(stem)
        or by_stem.get(shorter)
        or by_stem.get(without_scale(shorter, scale))
    )
    if found is None:
        expected = place.with_suffix(".png")
        raise DefianError(
            f"No original for {result}: expected {expected} or the like.", "Check the folder of --compare."
        )
    return read_image(found)


def without_scale(stem: str, scale: int) -> str:
    """The name of an HR image by that of its LR image, as DIV2K has them: ``0801`` for ``0801x2``."""
    return stem.removesuffix(f"x{scale}")
