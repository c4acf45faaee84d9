from __future__ import annotations

import math

import numpy as np
import pytest

from defian_edge.benchmark.statistics import compare, median_interval, summarise

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("count", [1, 2, 7, 10, 99, 100, 101, 1000])
def test_a_summary_is_what_numpy_says(count):
    samples = RANDOM.lognormal(size=count)
    summary = summarise(samples.tolist())
    assert summary.count == count
    assert (summary.minimum, summary.maximum) == (samples.min(), samples.max())
    assert summary.mean == pytest.approx(samples.mean())
    assert summary.median == pytest.approx(np.median(samples))
    for name, percent in (("p90", 90), ("p95", 95), ("p99", 99)):
        # trtexec's percentile is an order statistic: the inverse of the empirical distribution.
        assert getattr(summary, name) == np.percentile(samples, percent, method="inverted_cdf"), (name, count)
    if count > 1:
        assert summary.cv == pytest.approx(samples.std(ddof=1) / samples.mean())
    else:
        assert math.isnan(summary.cv)


def test_percentiles_of_a_known_ramp():
    summary = summarise(range(1, 101))
    assert (summary.p90, summary.p95, summary.p99, summary.median) == (90, 95, 99, 50.5)


@pytest.mark.parametrize(("count", "known"), [(7, False), (8, True)])
def test_an_interval_needs_eight_rounds(count, known):
    assert (median_interval(np.arange(float(count))) is not None) is known


@pytest.mark.parametrize("count", [8, 25, 200, 1500])
def test_the_interval_holds_the_median_as_often_as_it_says(count):
    held = [
        low <= 0.0 <= high
        for _ in range(600)
        if (interval := median_interval(np.sort(RANDOM.standard_normal(count)))) is not None
        for low, high in [interval]
    ]
    assert len(held) == 600
    assert np.mean(held) >= 0.975


@pytest.mark.parametrize(
    ("shift", "verdict"), [(1.1, "slower"), (0.9, "faster"), (1.0, "no difference"), (1.004, "no difference")]
)
def test_the_verdict_follows_the_interval_and_the_size_of_the_effect(shift, verdict):
    ratios = shift * (1 + 0.002 * np.sin(np.arange(30)))
    comparison = compare(ratios.tolist())
    assert comparison.verdict == verdict
    assert comparison.ratio == pytest.approx(np.median(ratios))
    assert comparison.quartiles == pytest.approx(tuple(np.percentile(ratios, [25, 75])))


@pytest.mark.parametrize(
    ("spread", "shift", "verdict"),
    [(0.6, 1.2, "not told apart"), (0.1, 1.0, "not told apart"), (0.02, 1.0, "no difference"), (0.6, 3.0, "slower")],
)
def test_a_wide_interval_is_no_proof_that_there_is_no_difference(spread, shift, verdict):
    # Ratios spread evenly around their median: the interval is about half as wide as they are.
    comparison = compare((shift * np.linspace(1 - spread, 1 + spread, 31)).tolist())
    assert comparison.verdict == verdict


def test_the_verdict_does_not_depend_on_which_of_two_comes_first():
    ratios = np.linspace(1.0, 1.06, 31)
    assert compare(ratios.tolist()).verdict == "slower"
    assert compare((1 / ratios).tolist()).verdict == "faster"
    edge = np.concatenate([np.full(15, 1 / 1.0249), [1.0], np.full(15, 1.0249)])
    assert compare(edge.tolist()).verdict == compare((1 / edge).tolist()).verdict == "no difference"


def test_too_few_rounds_are_no_verdict():
    assert compare([1.2, 1.2, 1.2]).verdict == "too few rounds"
