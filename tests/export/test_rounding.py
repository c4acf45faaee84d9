from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from defian_edge.calibration.ranges.estimators import LEVELS
from defian_edge.export.precision.int8.rounding import round_to_nearest


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4), st.sampled_from([0.05, 1.0, 50.0]))
@settings(deadline=None, max_examples=50)
def test_every_weight_is_within_half_a_step_and_every_channel_uses_its_whole_range(seed, outputs, inputs, size):
    weight = np.random.default_rng(seed).normal(size=(outputs, inputs, 3, 3)) * size
    integers, scale = round_to_nearest(weight)
    steps = scale.astype(np.float64)[:, None, None, None]
    assert integers.dtype == np.int8
    assert np.abs(integers.astype(int)).max(axis=(1, 2, 3)).min() >= LEVELS - 1
    # The scale is rounded to FP16, so that the largest weight may be clipped by its relative error of 2^-11.
    slack = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) * 2.0**-10
    assert (np.abs(integers * steps - weight) <= 0.5 * steps + slack).all()


def test_a_channel_of_zeros_stays_zero():
    integers, scale = round_to_nearest(np.zeros((2, 3, 3, 3)))
    assert not integers.any()
    assert (scale > 0).all()
