"""PSNR and SSIM on a device are those of the drift measurement."""

from __future__ import annotations

import numpy as np
import pytest

from defian_edge.calibration.drift.metrics import psnr_y, ssim_y
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.quality import compare
from tests.conftest import noise


def test_quality_is_that_of_the_literature():
    """Held against scikit-image's own colours and figures, inside the border."""
    from skimage import color, metrics

    first, second = noise(40, 50, 3), np.bitwise_xor(noise(40, 50, 3), noise(40, 50, 3, seed=1) >> 5)
    quality = compare(first, second, 2)
    y, other = (color.rgb2ycbcr(image)[2:-2, 2:-2, 0] for image in (first, second))
    psnr = metrics.peak_signal_noise_ratio(y, other, data_range=255)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert quality.psnr == pytest.approx(psnr, abs=1e-9)
    assert quality.ssim == pytest.approx(metrics.structural_similarity(y, other, data_range=255, **window), abs=1e-9)
    assert (psnr_y(first, second, 2), ssim_y(first, second, 2)) == (quality.psnr, quality.ssim)
    with pytest.raises(DefianError, match="expected 50x40"):
        compare(first, noise(44, 50, 3), 2)
    with pytest.raises(DefianError, match="too small"):
        compare(noise(12, 12, 3), noise(12, 12, 3), 2)
