"""PSNR and SSIM as the super-resolution literature measures them.

Both are the runtime's own, so that a device says the same as an export; a test holds them against scikit-image's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from defian_edge.runtime import quality
from defian_edge.runtime.entry import raise_if_ended
from defian_edge.runtime.errors import MissingPackageError
from defian_edge.runtime.quality import WINDOW
from defian_edge.runtime.verify.figures import PEAK, luma, psnr, psnr_y

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PEAK", "luma", "psnr", "psnr_y", "ssim_y"]


def ssim_y(image: NDArray[np.uint8], reference: NDArray[np.uint8], border: int) -> float:
    """The runtime's, but NaN for images with a side below its window, and without scikit-image, as on a Jetson."""
    if min(image.shape[:2]) - 2 * border < WINDOW:
        return math.nan
    try:
        return quality.ssim_y(image, reference, border)
    except MissingPackageError:
        raise_if_ended()
        return math.nan
