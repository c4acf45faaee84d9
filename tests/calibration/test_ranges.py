"""Range estimators: what each claims, on any magnitudes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from defian_edge.calibration.ranges.estimators import (
    CLIPPING,
    LARGEST_PERCENTILE,
    LEVELS,
    SMALLEST_SHARE,
    Clipped,
    RangeMethod,
    drawn_weight,
    range_of,
)
from defian_edge.calibration.ranges.histogram import BINS, Histogram
from defian_edge.calibration.ranges.observers import Magnitudes

magnitudes = arrays(np.float32, st.integers(1, 400), elements=st.floats(-1e4, 1e4, width=32))


def shown(watching, parts):
    for part in parts:
        watching.add(part)
    return watching


def histogram_of(*parts):
    return shown(Histogram(), parts)


def squared_error(values, limit):
    step = limit / LEVELS
    errors = (np.clip(np.rint(values / step), -LEVELS, LEVELS) * step - values) ** 2
    return float(np.mean(np.where(np.abs(values) > limit, CLIPPING * errors, errors)))


@given(magnitudes, st.sampled_from(RangeMethod), st.integers(0, 400))
@settings(deadline=None, max_examples=120)
def test_a_range_is_positive_never_above_the_largest_and_independent_of_batches(values, method, cut):
    limit = range_of(histogram_of(values), method)
    assert limit > 0
    assert limit == range_of(histogram_of(values[cut:], values[:cut]), method)
    largest = float(np.abs(values).max())
    if largest > 0:
        assert limit <= largest * (1 + 1e-6)


@given(magnitudes)
@settings(deadline=None, max_examples=60)
def test_minmax_and_percentile_cover_what_they_claim(values):
    histogram = histogram_of(values)
    largest = float(np.abs(values).max())
    if largest == 0:
        return
    assert range_of(histogram, RangeMethod.MINMAX) == largest
    # Fewer than 100 000 values: their 99.999th percentile is the largest, to the width of a bin.
    assert range_of(histogram, RangeMethod.PERCENTILE) >= largest * (1 - 2 / BINS)


@given(st.integers(0, 40), st.integers(100_000, 400_000), st.floats(1.5, 1000.0), st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_a_percentile_covers_its_share_of_the_values_and_hardly_more(outliers, count, distance, seed):
    random = np.random.default_rng(seed)
    values = random.uniform(-1.0, 1.0, count).astype(np.float32)
    values[:outliers] *= np.float32(distance)
    histogram = histogram_of(values)
    limit = range_of(histogram, RangeMethod.PERCENTILE)
    needed = math.ceil(count * LARGEST_PERCENTILE / 100.0)
    # Bins are what it can tell apart: the value that completes the share lies in the last bin inside the range.
    assert np.count_nonzero(np.abs(values) <= limit) >= needed
    assert np.count_nonzero(np.abs(values) < limit - histogram.bin_width) < needed


@pytest.mark.parametrize("method", RangeMethod)
@pytest.mark.parametrize("constant", [1e-7, 0.3, 4.0, 6e4])
def test_a_constant_tensor_keeps_its_value(method, constant):
    limit = range_of(histogram_of(np.full(1000, constant, np.float32)), method)
    # The histogram knows a value to the width of a bin; the range must not clip more than that.
    assert constant * (1 - 2 / BINS) <= limit <= constant * 1.0001


@pytest.mark.parametrize("method", RangeMethod)
def test_all_zero_activations_get_a_usable_range(method):
    assert range_of(histogram_of(np.zeros(5, np.float32)), method) == 1.0


def test_nan_is_an_error():
    with pytest.raises(ValueError, match="finite"):
        Histogram().add(np.array([np.nan], np.float32))


def test_a_percentile_leaves_out_a_rare_outlier():
    values = np.concatenate([np.linspace(-1, 1, 2_000_000, dtype=np.float32), np.array([1000.0], np.float32)])
    histogram = histogram_of(values)
    assert range_of(histogram, RangeMethod.MINMAX) == 1000.0
    assert range_of(histogram, RangeMethod.PERCENTILE) == pytest.approx(1.0, abs=2 * histogram.bin_width)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_mse_finds_the_least_error_a_search_over_the_values_finds(sharpness):
    random = np.random.default_rng(0)
    values = (random.laplace(size=200_000) ** 1 * np.abs(random.normal(size=200_000)) ** sharpness).astype(np.float32)
    limit = range_of(histogram_of(values), RangeMethod.MSE)
    largest = float(np.abs(values).max())
    best = min(squared_error(values, largest * share) for share in np.linspace(1.0, SMALLEST_SHARE, 60))
    assert squared_error(values, limit) <= best * 1.01


def test_more_roundings_lower_the_mse_range():
    values = np.random.default_rng(0).laplace(size=100_000).astype(np.float32)
    histogram = histogram_of(values)
    assert range_of(histogram, RangeMethod.MSE, 4.0) < range_of(histogram, RangeMethod.MSE)


def test_entropy_clips_a_long_thin_tail_and_ignores_zeros_behind_a_relu():
    random = np.random.default_rng(0)
    values = random.normal(size=400_000).astype(np.float32)
    values[:20] *= 30.0
    limit = range_of(histogram_of(values), RangeMethod.ENTROPY)
    assert 2.5 < limit < 0.5 * float(np.abs(values).max())
    with_zeros = range_of(histogram_of(values, np.zeros(2_000_000, np.float32)), RangeMethod.ENTROPY)
    assert with_zeros == pytest.approx(limit, rel=0.05)


def clipped_of(photos, drawn):
    photos, drawn = shown(Magnitudes(), photos), shown(Magnitudes(), drawn)
    return photos.histogram, Clipped(photos.worst, drawn.mean, max(photos.histogram.largest, drawn.histogram.largest))


def test_a_robust_range_spares_the_photo_that_is_clipped_most():
    random = np.random.default_rng(7)
    dull = [random.normal(0, 1.0, 20_000).astype(np.float32) for _ in range(63)]
    bright = random.normal(0, 4.0, 20_000).astype(np.float32)
    histogram, clipped = clipped_of([*dull, bright], [])
    robust, pooled = (range_of(histogram, method, clipped=clipped) for method in (RangeMethod.ROBUST, RangeMethod.MSE))
    alone = range_of(histogram_of(bright), RangeMethod.MSE)
    assert pooled < 0.85 * alone
    assert 0.95 * alone < robust <= float(np.abs(bright).max())
    same, clipped_same = clipped_of([bright, *dull], [])
    assert robust == range_of(same, RangeMethod.ROBUST, clipped=clipped_same)


def test_drawn_pictures_widen_a_robust_range_and_only_that():
    random = np.random.default_rng(7)
    photos = [random.normal(0, 1.0, 20_000).astype(np.float32) for _ in range(4)]
    drawn = [random.normal(0, 8.0, 20_000).astype(np.float32)]
    plain, without = clipped_of(photos, [])
    histogram, clipped = clipped_of(photos, drawn)
    assert range_of(plain, RangeMethod.ROBUST, clipped=without) < range_of(
        histogram, RangeMethod.ROBUST, clipped=clipped
    )
    for method in set(RangeMethod) - {RangeMethod.ROBUST}:
        assert range_of(plain, method) == range_of(histogram, method, clipped=clipped)


def test_drawn_pictures_weigh_more_where_rounding_costs_less():
    assert [drawn_weight(0.1, scale) for scale in (1, 2, 4)] == [0.025, 0.1, 0.4]


def test_a_tensor_that_only_drawn_pictures_wake_has_their_range():
    histogram, clipped = clipped_of([np.zeros(100, np.float32)], [np.full(100, 3.0, np.float32)])
    assert range_of(histogram, RangeMethod.ROBUST, clipped=clipped) == 3.0
