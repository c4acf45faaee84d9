from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.calibration.drift.fp16_emulation import emulate_fp16
from defian_edge.calibration.drift.metrics import psnr, psnr_y, ssim_y
from defian_edge.calibration.drift.report import DriftReport, ImageDrift, report_of
from defian_edge.calibration.photos import EvaluationPair, calibration_set, evaluation_pairs
from defian_edge.calibration.ranges.histogram import BINS, Histogram
from defian_edge.export.graph import Emitter
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import write_png
from tests.conftest import noise

magnitudes = arrays(np.float32, st.integers(1, 400), elements=st.floats(-1e4, 1e4, width=32))


def histogram_of(*parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


@given(magnitudes, st.integers(0, 400))
@settings(deadline=None, max_examples=60)
def test_a_histogram_does_not_depend_on_order_or_batch_size(values, cut):
    whole, parts = histogram_of(values), histogram_of(values[cut:][::-1], values[:cut])
    assert whole.exponent == parts.exponent
    assert np.array_equal(whole.counts, parts.counts)
    assert whole.largest == parts.largest


@given(magnitudes, st.integers(0, 400), st.booleans())
@settings(deadline=None, max_examples=60)
def test_merged_histograms_are_those_of_all_values(values, cut, first):
    parts = [histogram_of(values[:cut]), histogram_of(values[cut:])]
    merged, other = parts if first else parts[::-1]
    merged.merge(other)
    whole = histogram_of(values)
    assert (merged.exponent, merged.largest) == (whole.exponent, whole.largest)
    assert np.array_equal(merged.counts, whole.counts)


@given(magnitudes)
@settings(deadline=None, max_examples=60)
def test_what_a_limit_clips_is_its_mean_squared_error(values):
    histogram = histogram_of(values)
    limits = np.array([1e-3, 1.0, 100.0, 1e4, 1e5])
    exact = np.mean(np.maximum(np.abs(values.astype(np.float64))[:, None] - limits, 0.0) ** 2, axis=0)
    # The histogram knows a value to half a bin.
    within = histogram.bin_width * np.sqrt(exact) + histogram.bin_width**2
    assert (np.abs(histogram.clipped(limits) - exact) <= within * (1 + 1e-6)).all()


def test_memory_of_a_histogram_does_not_grow():
    histogram = histogram_of(*(np.full(10, 10.0**power, np.float32) for power in range(-6, 6)))
    assert histogram.counts.size == BINS
    assert histogram.total == 120


def test_psnr_is_the_textbook_value():
    assert psnr(np.zeros((4, 4), np.uint8), np.full((4, 4), 16, np.uint8)) == pytest.approx(20 * math.log10(255 / 16))
    assert psnr(noise(4, 4), noise(4, 4)) == math.inf


def test_a_planted_tenth_of_a_decibel_is_found_to_a_hundredth():
    hr = np.full((256, 256, 3), 128, np.uint8)
    random = np.random.default_rng(0)
    error = random.normal(0, 6.0, (256, 256, 1))
    extra = random.normal(0, 6.0 * math.sqrt(10**0.01 - 1), (256, 256, 1))
    reference, candidate = (np.repeat(np.round(hr[..., :1] + e), 3, 2).astype(np.uint8) for e in (error, error + extra))
    pair = EvaluationPair("planted", hr[::2, ::2], hr)
    found, wanted = (Evaluation(image, finite=True) for image in (candidate, reference))
    report = report_of("candidate", [found], [wanted], [pair], 2)
    assert report.mean == pytest.approx(0.1, abs=0.01)


def test_psnr_before_rounding_pools_the_errors_of_all_images_and_needs_values_on_both_sides():
    image = np.full((8, 8, 3), 100, np.uint8)
    pairs = [EvaluationPair(name, image[::2, ::2], image) for name in "ab"]
    wanted = [Evaluation(image, finite=True, values=image.astype(np.float32))] * 2
    shifted = [Evaluation(image, finite=True, values=image + np.float32(shift)) for shift in (0.1, 0.3)]
    report = report_of("v", shifted, wanted, pairs, 2)
    assert report.psnr_to_reference == math.inf
    assert report.unrounded_to_reference == pytest.approx(10 * math.log10(255**2 / 0.05), abs=1e-3)
    blind = report_of("v", shifted, [Evaluation(image, finite=True), wanted[1]], pairs, 2)
    assert math.isnan(blind.unrounded_to_reference)
    assert blind.summary()["unrounded_to_reference"] is None


def test_the_border_is_left_out_of_the_metrics():
    image, damaged = noise(32, 32, 3), noise(32, 32, 3)
    damaged[:2] = 255 - damaged[:2]
    assert psnr_y(image, damaged, 2) == math.inf
    assert psnr_y(image, damaged, 0) < 40
    assert ssim_y(image, damaged, 2) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("image", "finite", "fault"),
    [(noise(8, 8, 3), False, "NaN or Inf"), (np.zeros((8, 8, 3), np.uint8), True, "black")],
)
def test_a_guard_refuses_whatever_the_psnr(image, finite, fault):
    pair = EvaluationPair("one", noise(4, 4, 3), noise(8, 8, 3))
    report = report_of("v", [Evaluation(image, finite=finite)], [Evaluation(pair.hr, finite=True)], [pair], 2)
    assert fault in report.faults[0].fault
    assert report.worst.drift == math.inf
    assert report.summary()["worst_drift_db"] is None


def test_half_emulation_overflows_and_rounds_as_fp16_does():
    emit = Emitter()
    x = ir.Value(name="x", shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.FLOAT))
    typed = emit("Cast", x, to=int(ir.DataType.FLOAT16))
    grown = emit("Mul", typed, emit.constant(np.array([300.0], np.float16)))
    back = emit("Cast", emit("Mul", grown, emit.constant(np.array([0.01], np.float16))), to=int(ir.DataType.FLOAT))
    back.name = "y"
    graph = ir.Graph([x], [back], nodes=emit.nodes, opset_imports={"": 20}, name="g")
    values = np.array([1000.0, 1.0007], np.float32)
    session = session_of(emulate_fp16(ir.Model(graph, ir_version=10)))
    result = np.asarray(session.run(None, {"x": values})[0])
    with np.errstate(over="ignore"):
        expected = (values.astype(np.float16) * np.float16(300)) * np.float16(0.01)
    assert np.array_equal(result, expected.astype(np.float32))
    assert np.isinf(result[0])


def test_patches_are_the_same_every_time_and_their_hash_tells_sets_apart():
    first, again, other = calibration_set(None, 2, 6), calibration_set(None, 2, 6), calibration_set(None, 2, 7)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.sha256() == again.sha256() != other.sha256()
    assert len(list(first)) == 6


def test_a_photo_smaller_than_a_patch_gives_what_it_has(tmp_path):
    Image.fromarray(noise(40, 60, 3)).save(tmp_path / "small.png")
    assert [patch.shape for patch in calibration_set(tmp_path, 2, 2)] == [(20, 30, 3)] * 2


def test_lr_and_hr_are_matched_by_name_and_checked(tmp_path):
    for folder, size in (("lr", (10, 12)), ("hr", (21, 24))):
        (tmp_path / folder).mkdir()
        Image.fromarray(noise(*size, 3)).save(tmp_path / folder / "a.png")
    [pair] = evaluation_pairs(2, lr=tmp_path / "lr", hr=tmp_path / "hr")
    assert pair.hr.shape == (20, 24, 3)
    with pytest.raises(DefianError, match="expected 36x30 pixels"):
        evaluation_pairs(3, lr=tmp_path / "lr", hr=tmp_path / "hr")
    (tmp_path / "hr" / "a.png").rename(tmp_path / "hr" / "b.png")
    with pytest.raises(DefianError, match="no counterpart"):
        evaluation_pairs(2, lr=tmp_path / "lr", hr=tmp_path / "hr")


def test_a_photo_with_nothing_inside_the_border_is_refused_instead_of_measured_as_nan(tmp_path):
    write_png(tmp_path / "tiny.png", noise(4, 40, 3))
    with pytest.raises(DefianError, match="tiny is 40x4 pixels: drift needs more than 4 a side"):
        evaluation_pairs(2, tmp_path)


def test_of_a_picture_that_is_nearly_exact_only_what_can_be_seen_counts_as_drift():
    flat = np.full((32, 32, 3), 100, np.uint8)
    pair = EvaluationPair("flat", flat[::2, ::2], flat)
    speck, wrong = flat.copy(), flat + np.uint8(1)
    speck[16, 16] = 102
    drifts = [
        report_of("v", [Evaluation(image, finite=True)], [Evaluation(flat, finite=True)], [pair], 2).worst.drift
        for image in (flat, speck, wrong)
    ]
    assert drifts[:2] == [0.0, 0.0]
    assert 5.0 < drifts[2] < 20.0


def test_a_drift_that_is_not_a_number_is_within_no_budget():
    image = ImageDrift("a", math.nan, 30.0, 0.9, 0.9, 50.0)
    assert DriftReport("x", (image,)).over(100.0) == [image]
