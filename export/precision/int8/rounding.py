"""FP32 weights -> INT8, one scale per output channel, to nearest."""

from __future__ import annotations

import numpy as np

from defian_edge.calibration.ranges.estimators import LEVELS

SMALLEST_FP16 = float(np.finfo(np.float16).tiny)


def fp16_scale(limit: np.ndarray) -> np.ndarray:
    """FP16 scale of a symmetric INT8 quantiser that represents magnitudes up to ``limit``; never zero."""
    return np.asarray(np.maximum(limit / LEVELS, SMALLEST_FP16), np.float16)


def round_to_nearest(weight: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Float weights, [O, I, kh, kw] or others -> int8 of the same shape, and FP16 scales [O] along the axis of O."""
    wide = weight.astype(np.float64)
    others = tuple(other for other in range(wide.ndim) if other != axis)
    scale = fp16_scale(np.abs(wide).max(axis=others))
    integers = np.clip(np.rint(wide / np.expand_dims(scale.astype(np.float64), others)), -LEVELS, LEVELS)
    return integers.astype(np.int8), scale
