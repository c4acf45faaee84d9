"""PSNR and SSIM as the super-resolution literature measures them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from skimage.color import rgb2ycbcr
from skimage.metrics import structural_similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

PEAK = 255.0


def luma(image: NDArray[np.uint8], border: int) -> NDArray[np.float64]:
    """Y of BT.601 in studio range (16 to 235) of uint8 RGB [H, W, 3], without ``border`` pixels at each side."""
    y = rgb2ycbcr(image)[..., 0]
    return y[border : y.shape[0] - border, border : y.shape[1] - border]


def psnr_y(image: NDArray[np.uint8], reference: NDArray[np.uint8], border: int) -> float:
    """Peak signal-to-noise ratio on Y in dB, peak 255; infinite for equal images."""
    return psnr(luma(image, border), luma(reference, border))


def psnr(image: NDArray[np.generic], reference: NDArray[np.generic]) -> float:
    """``10 log10(255^2 / mean squared error)`` in dB over all elements; infinite for equal arrays."""
    error = float(np.mean((image.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return math.inf if error == 0.0 else 10.0 * math.log10(PEAK**2 / error)


def ssim_y(image: NDArray[np.uint8], reference: NDArray[np.uint8], border: int) -> float:
    """Structural similarity on Y: 11x11 Gaussian window, sigma 1.5, as in Wang et al. 2004.

    Images with a side below the window give NaN.
    """
    y, y_reference = luma(image, border), luma(reference, border)
    if min(y.shape) < 11:
        return math.nan
    similarity = structural_similarity(
        y, y_reference, data_range=PEAK, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(np.asarray(similarity))
