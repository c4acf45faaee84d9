"""FP32 weights -> INT8, one scale per output channel: to nearest, or for the least error of the result."""

from __future__ import annotations

import numpy as np

from calibration.ranges import LEVELS

SMALLEST_HALF = float(np.finfo(np.float16).tiny)
DAMPING = 0.01
"""Share of the mean diagonal added to the second moment, so that it can be inverted."""


def half_scale(limit: np.ndarray) -> np.ndarray:
    """FP16 scale of a symmetric INT8 quantiser that represents magnitudes up to ``limit``; never zero."""
    return np.asarray(np.maximum(limit / LEVELS, SMALLEST_HALF), np.float16)


def round_to_nearest(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[O, I, kh, kw] float -> int8 of the same shape and FP16 scales [O]."""
    wide = weight.astype(np.float64)
    scale = half_scale(np.abs(wide).max(axis=(1, 2, 3)))
    integers = _nearest(wide / scale.astype(np.float64)[:, None, None, None])
    return integers.astype(np.int8), scale


def round_for_result(weight: np.ndarray, moment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round one column after the other and let the columns not yet rounded make up for the error.

    Second-order rounding (optimal brain quantisation; E. Frantar et al., GPTQ, ICLR 2023): with second
    moment M of the windows, the squared error of the result is ``d^T M d`` for an error d of the weights.

    Args:
        weight: [O, I, kh, kw] float.
        moment: second moment of the input windows, [I kh kw, I kh kw].

    Returns:
        int8 weights of the same shape and FP16 scales [O]. Never worse by ``d^T M d`` than rounding to nearest:
        rows for which it would be are rounded to nearest.
    """
    nearest, scale = round_to_nearest(weight)
    steps = scale.astype(np.float64)
    target = weight.reshape(len(weight), -1).astype(np.float64) / steps[:, None]
    mean = float(np.mean(np.diag(moment)))
    if mean <= 0.0:
        return nearest, scale
    damped = moment + DAMPING * mean * np.eye(len(moment))
    order = np.argsort(-np.diag(damped), kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left, rounded = target[:, order], np.empty_like(target)
    for index in range(len(order)):
        rounded[:, index] = _nearest(left[:, index])
        error = (left[:, index] - rounded[:, index]) / factor[index, index]
        left[:, index + 1 :] -= np.outer(error, factor[index, index + 1 :])
    result = np.empty_like(target)
    result[:, order] = rounded
    flat = nearest.reshape(len(nearest), -1).astype(np.float64)
    better = _cost(result - target, moment) < _cost(flat - target, moment)
    chosen = np.where(better[:, None], result, flat)
    return chosen.reshape(weight.shape).astype(np.int8), scale


def _nearest(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), -LEVELS, LEVELS)


def _cost(errors: np.ndarray, moment: np.ndarray) -> np.ndarray:
    return np.einsum("ok,ok->o", errors @ moment, errors)
