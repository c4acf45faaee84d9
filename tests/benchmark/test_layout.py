"""The page on a telephone and on a desk: nothing covers, leaves or breaks what it should not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from defian_edge.benchmark.report.page import write_page
from defian_edge.benchmark.report.table import Table
from defian_edge.calibration.drift.report import DriftReport, ImageDrift
from tests.benchmark.browser import SIZES, opened
from tests.benchmark.results import NAMES, with_images


def test_names_in_the_speed_and_drift_plot_do_not_cover_each_other(chromium, tmp_path, result):
    drift = [DriftReport(n, (ImageDrift("a", 37.0, 37.0, 0.9, 0.9, 60.0),)) for n in NAMES]
    near = [
        replace(each, quality=replace(each.quality, report=report))
        for each, report in zip(result.measured, drift, strict=False)
        if each.quality is not None
    ]
    path = write_page(replace(result, measured=tuple(near)), tmp_path)
    for width in (400, 1400):
        tab, _ = opened(chromium, path, width)
        boxes = tab.evaluate(
            """() => [...document.querySelectorAll('.plots .column:last-child figure:last-child svg text')]
                .filter(e => e.checkVisibility() && /[a-z]-/.test(e.textContent))
                .map(e => e.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"""
        )
        assert len(boxes) == len(NAMES)
        for index, one in enumerate(boxes):
            for other in boxes[index + 1 :]:
                apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] + 1 or other[3] <= one[1] + 1
                assert apart, (width, one, other)


def test_cells_of_a_telephones_cards_do_not_run_into_each_other(chromium, written):
    tab, _ = opened(chromium, written, 400)
    wide = tab.evaluate(
        """() => [...document.querySelectorAll('.tables td')].filter(e => e.scrollWidth > e.clientWidth + 1)
            .map(e => e.dataset.label)"""
    )
    assert wide == []


def test_no_figure_is_broken_in_two_on_a_telephone(chromium, tmp_path, result):
    more = Table("Tile drift", ("artefact", "PSNR-Y in tiles", "device latency", "to one piece"))
    more.add("a", "37.626", "12.345 / 23.456", "63.2")
    tab, _ = opened(chromium, write_page(result, tmp_path, [more]), 400)
    broken = tab.evaluate(
        """() => [...document.querySelectorAll('.tables td')].filter(e => e.dataset.label !== 'worst image')
            .filter(e => e.getBoundingClientRect().height > 1.9 * parseFloat(getComputedStyle(e).lineHeight))
            .map(e => e.dataset.label)"""
    )
    assert broken == []


LONG = [f"a-photograph-with-a-name-of-40-letters-{i:02}" for i in range(40, 43)]


@SIZES
@pytest.mark.parametrize("loss", [0.01, 1e-7])
def test_long_names_of_images_stay_inside_their_cards_and_plots(chromium, tmp_path, result, width, loss):
    remarks = ("x" * 300,)
    path = write_page(replace(with_images(result, LONG, loss), remarks=remarks, images="y" * 200), tmp_path)
    tab, _ = opened(chromium, path, width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    spilled = tab.evaluate(
        """() => [...document.querySelectorAll('tr, caption, td, th, li, h3, .detail, .detail p, figure')]
            .filter(e => e.checkVisibility() && e.closest('thead') === null && e.scrollWidth > e.clientWidth + 1)
            .map(e => [e.tagName, e.textContent.slice(0, 60)])"""
    )
    assert spilled == []
    if width == 400:
        outside = tab.evaluate(
            """() => [...document.querySelectorAll('td')].map(e => { const c = document.createRange();
                c.selectNodeContents(e); return [c.getBoundingClientRect(), e.closest('tr').getBoundingClientRect()]; })
                .filter(([a, b]) => a.right > b.right + 1 || a.left < b.left - 1).length"""
        )
        assert outside == 0
    boxes = tab.evaluate(
        """() => [...document.querySelectorAll('.plots figure')].map(f => [f.getBoundingClientRect(),
            [...f.querySelectorAll('svg text')].filter(e => e.checkVisibility())
                .map(e => [e.textContent, e.getBoundingClientRect()])])
            .map(([f, all]) => [[f.left, f.right], all.map(([t, b]) => [t, b.left, b.top, b.right, b.bottom])])"""
    )
    for (left, right), words in boxes:
        for index, (text, *one) in enumerate(words):
            assert left - 1 <= one[0], text
            assert one[2] <= right + 1, text
            for other_text, *other in words[index + 1 :]:
                across = min(one[2], other[2]) - max(one[0], other[0])
                down = min(one[3], other[3]) - max(one[1], other[1])
                assert across <= 1 or down <= 2, (width, text, other_text)
