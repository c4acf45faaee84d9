"""What is drawn and what is cropped, without a browser."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from defian_edge.benchmark.measure.quality import Quality, WorstImage
from defian_edge.benchmark.report.columns import AROUND, Sketch, in_columns
from defian_edge.benchmark.report.crops import SIDE, amplification, busiest, detail_of
from defian_edge.benchmark.report.page import write_page
from defian_edge.benchmark.report.plots import at_least, plots_of, visible_range
from defian_edge.benchmark.report.tables import PLANNED, memory_table, result_tables
from defian_edge.benchmark.results import BenchResult, Measured
from defian_edge.calibration.drift.report import DriftReport, ImageDrift
from tests.benchmark.results import planned, quality, with_images
from tests.conftest import noise


def drawn(result: BenchResult, start: str, width: str = "wide") -> str:
    """The SVG of the plot whose title starts like this."""
    [plot] = [plot for plot in plots_of(result.measured, result.shapes) if plot.title.startswith(start)]
    return plot.drawn[width]


def letters(svg: str) -> list[str]:
    """Every text of an SVG."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_plots_appear_only_where_there_are_figures(result):
    titles = [plot.title for plot in plots_of(result.measured, result.shapes)]
    assert [title.split()[0] for title in titles] == ["Latency", "Drift", "Differences", "Memory", "Speed"]
    assert titles[-1] == "Speed at 1x90x160 against drift"
    unknown = [Measured(each.candidate, 1) for each in result.measured]
    assert plots_of(unknown, result.shapes) == []
    assert not [table for table in result_tables(replace(result, measured=tuple(unknown))) if "Memory" in table.title]


def test_columns_keep_the_order_and_end_at_one_height():
    sizes = [("a", 1.5, False), ("b", 1.4, False), ("c", 2.4, True), ("d", 1.9, False), ("e", 2.2, True)]
    placed = in_columns([Sketch(name, lambda _: None, height, stretches) for name, height, stretches in sizes])
    columns = [column for column, _ in placed]
    assert columns == sorted(columns)
    heights = [sum(height + AROUND for column, height in placed if column == side) for side in (0, 1)]
    assert heights[0] == pytest.approx(heights[1])
    assert [height for _, height in placed][:2] == [1.5, 1.4]
    assert in_columns([]) == []
    assert in_columns([Sketch("a", lambda _: None, 2.0, stretches=True)])[0][1] == 2.0


def test_names_with_dollars_are_drawn_as_they_are(result):
    names = ["$a$.png", "cost_$5.png", "$\\frac{1}{", "a_b^c"]
    odd = with_images(result, names)
    candidate = replace(odd.measured[0].candidate, name="$x^2$ (PyTorch)")
    odd = replace(odd, measured=(replace(odd.measured[0], candidate=candidate), *odd.measured[1:]))
    assert set(names) <= set(letters(drawn(odd, "Drift")))
    for plot in ("Latency", "Memory", "Speed"):
        assert "$x^2$ (PyTorch)" in letters(drawn(odd, plot)), plot


def test_images_of_one_name_get_a_row_each(result):
    same = with_images(result, ["photo", "photo", "photo"])
    assert letters(drawn(same, "Drift")).count("photo") == 3


def test_long_names_lose_their_middle_and_keep_both_ends(result):
    images = ["the-first-of-all-the-very-long-photographs.png", "the-other-one-of-the-very-long-photographs2.png"]
    narrow = letters(drawn(with_images(result, images), "Drift", "narrow"))
    short = [each for each in narrow if "\N{HORIZONTAL ELLIPSIS}" in each]
    assert len(short) == 2
    assert all(len(each) == 18 for each in short)
    assert {each[-4:] for each in short} == {".png"}
    assert {each[:7] for each in short} == {"the-fir", "the-oth"}


def test_one_stalled_run_does_not_squeeze_the_others_and_is_counted(result):
    steady = np.linspace(10.0, 11.0, 20)
    assert visible_range([steady, 2 * steady]) == (pytest.approx(1.04 * 22.0), 0)
    stalled = np.append(steady, 900.0)
    limit, beyond = visible_range([stalled, 2 * steady])
    assert limit == pytest.approx(1.04 * 22.0)
    assert beyond == 1
    first = result.measured[0]
    [latency] = first.latencies
    stalled = replace(first, latencies=(replace(latency, seconds=(*latency.seconds[:-1], 99.0)),))
    labels = letters(drawn(replace(result, measured=(stalled, *result.measured[1:])), "Latency"))
    assert "ms, uint8 to uint8; 1 sample beyond the right edge" in labels


def test_a_drift_of_nothing_does_not_fill_the_plot(result):
    assert at_least((-1e-7, 2e-7)) == (-1e-3, 1e-3)
    assert at_least((-0.5, 0.2)) == (-0.5, 0.2)
    images = tuple(ImageDrift(f"photo-{i}", 37.0 - 1e-7 * i, 37.0, 0.9, 0.9, 90.0) for i in range(3))
    near = [
        each if each.quality is None else replace(each, quality=replace(each.quality, report=DriftReport("x", images)))
        for each in result.measured
    ]
    for plot in ("Drift", "Speed"):
        said = letters(drawn(replace(result, measured=tuple(near)), plot))
        assert not [each for each in said if "e" in each and re.fullmatch(r"[-+\d.e\N{MINUS SIGN}]+", each)], said
        assert [each for each in said if each.lstrip("\N{MINUS SIGN}").startswith("0.0010")], said


def test_planned_memory_is_hatched_and_said_not_to_be_measured(result):
    engine = planned(result.measured[-1], 5_000_000)
    table = memory_table([result.measured[0], engine])
    assert table.columns[-1] == PLANNED == "device, planned (not measured)"
    assert table.rows[1][-1] == "5.0"
    assert PLANNED not in memory_table(result.measured[:2]).columns
    svg = drawn(replace(result, measured=(result.measured[0], engine)), "Memory")
    assert len(re.findall(r"<pattern ", svg)) == 1
    assert f"5 MB {PLANNED}" in letters(svg)
    assert "<pattern " not in drawn(result, "Memory")


def test_a_loss_of_nothing_is_written_without_a_sign(result, tmp_path):
    images = (ImageDrift("photo-0", 37.00000001, 37.0, 0.95, 0.95, 60.0),)
    gained = [
        each if each.quality is None else replace(each, quality=replace(each.quality, report=DriftReport("x", images)))
        for each in result.measured
    ]
    text = write_page(replace(result, measured=tuple(gained)), tmp_path).read_text()
    assert "photo-0, 0.0000 dB lost" in text.replace("photo-2,", "photo-0,")
    assert "-0.0000" not in text


def test_the_detail_is_where_candidate_and_reference_differ_most():
    assert detail_of("same", quality("same", 0)) is None
    detail = detail_of("other", quality("other", 2))
    assert detail is not None
    left, top = detail.place
    assert left <= 10
    assert top <= 150
    assert top + detail.size[1] >= 160
    assert detail.size == (SIDE, SIDE)
    assert detail.factor == 63
    assert (detail.differing, detail.values, detail.largest) == (3 * 100, 3 * SIDE**2, 2)
    assert list(detail.pictures) == ["original", "reference", "candidate", "difference x63"]


def test_the_busiest_window_and_the_amplification():
    values = np.zeros((50, 70), np.int64)
    values[40, 60] = 5
    top, left = busiest(values, 16)
    assert top <= 40 < top + 16
    assert left <= 60 < left + 16
    assert busiest(values, 500) == (0, 0)
    assert [amplification(np.array([0, value])) for value in (1, 2, 4, 63, 64, 200)] == [127, 63, 31, 2, 1, 1]
    assert amplification(np.array([1] * 999 + [120])) == 127  # a stray one does not hide the others
    assert amplification(np.array([1] * 9 + [120])) == 1


def test_small_images_have_a_detail_too():
    small = noise(20, 24, 3)
    report = DriftReport("x", (ImageDrift("tiny", 30.0, 31.0, 0.9, 0.9, 50.0),))
    detail = detail_of("x", Quality(report, (1, 1), WorstImage("tiny", small, small, small ^ 1)))
    assert detail is not None
    assert detail.size == (24, 20)
