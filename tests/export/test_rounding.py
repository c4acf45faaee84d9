from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.ranges import LEVELS
from export.precision.rounding import round_for_result, round_to_nearest


def moment_of(windows):
    return windows.T @ windows


def error(weight, rounded, moment):
    integers, scale = rounded
    difference = (integers * scale.astype(np.float64)[:, None, None, None] - weight).reshape(len(weight), -1)
    return np.einsum("ok,kl,ol->o", difference, moment, difference)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_second_order_rounding_is_never_worse_than_to_nearest(seed, outputs, inputs):
    random = np.random.default_rng(seed)
    weight = random.normal(size=(outputs, inputs, 3, 3)) * random.choice([1e-3, 1.0, 50.0])
    windows = random.normal(size=(200, inputs * 9)) @ random.normal(size=(inputs * 9, inputs * 9))
    moment = moment_of(windows)
    nearest, second = round_to_nearest(weight), round_for_result(weight, moment)
    assert (error(weight, second, moment) <= error(weight, nearest, moment) * (1 + 1e-9)).all()
    for integers, scale in (nearest, second):
        assert integers.dtype == np.int8
        assert np.abs(integers.astype(int)).max() <= LEVELS
        assert (scale > 0).all()


def test_correlated_inputs_are_where_it_gains():
    random = np.random.default_rng(0)
    weight = random.normal(size=(16, 8, 3, 3))
    windows = random.normal(size=(500, 1)) + 0.1 * random.normal(size=(500, 72))
    moment = moment_of(windows)
    nearest, second = round_to_nearest(weight), round_for_result(weight, moment)
    assert error(weight, second, moment).sum() < 0.2 * error(weight, nearest, moment).sum()


def test_windows_that_are_always_zero_fall_back_to_nearest():
    weight = np.random.default_rng(0).normal(size=(3, 2, 3, 3))
    nearest, second = round_to_nearest(weight), round_for_result(weight, np.zeros((18, 18)))
    assert np.array_equal(nearest[0], second[0])
