"""PSNR and SSIM as the super-resolution literature measures them.

PSNR is the runtime's own, so that a device says the same as an export; a test holds its Y against scikit-image's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.runtime.entry import raise_if_ended
from defian_edge.runtime.verify.figures import PEAK, luma, psnr, psnr_y

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PEAK", "luma", "psnr", "psnr_y", "ssim_y"]


def ssim_y(image: NDArray[np.uint8], reference: NDArray[np.uint8], border: int) -> float:
    """Structural similarity on Y: 11x11 Gaussian window, sigma 1.5, as in Wang et al. 2004.

    Images with a side below the window give NaN, and so does a machine without scikit-image, as a Jetson may be.
    """
    y, y_reference = luma(image, border), luma(reference, border)
    if min(y.shape) < 11:
        return math.nan
    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        raise_if_ended()
        return math.nan
    similarity = structural_similarity(
        y, y_reference, data_range=PEAK, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(np.asarray(similarity))
