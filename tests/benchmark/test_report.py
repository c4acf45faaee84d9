"""The page in a real browser: Chromium, headless, from a file, offline."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from benchmark.report.page import write_page
from benchmark.sheet import Sheet
from calibration.drift import DriftReport, ImageDrift
from tests.benchmark.results import NAMES, made_up_result, with_images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmark.results import BenchResult

SIZES = pytest.mark.parametrize("width", [400, 1400])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
BROWSER_OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def result() -> BenchResult:
    return made_up_result()


@pytest.fixture(scope="module")
def written(result, tmp_path_factory) -> Path:
    return write_page(result, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(BROWSER_OPTIONS))
        yield browser
        browser.close()


def opened(chromium, page: Path, width: int = 1400, scheme: str = "light") -> tuple[Any, list[str]]:
    """The page in a browser without a network, and everything that it complained about or asked for."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    tab = context.new_page()
    trouble: list[str] = []
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else trouble.append(request.url)
    )
    tab.goto(page.as_uri())
    return tab, trouble


@SIZES
@SCHEMES
def test_the_page_loads_without_network_errors_or_sideways_scrolling(chromium, written, width, scheme):
    tab, trouble = opened(chromium, written, width, scheme)
    assert trouble == []
    assert tab.title() == "Benchmark: made-up"
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    shown = "narrow" if width == 400 else "wide"
    assert tab.locator(f".plots .{shown} svg").count() == tab.locator(f".plots .{shown} svg:visible").count() == 5
    assert tab.locator(".plots svg:visible").count() == 5
    cut = tab.evaluate(
        """() => [...document.querySelectorAll('td, th, h1, h2, h3, caption, li, .plots svg text')]
            .filter(e => e.checkVisibility() && e.closest('thead') === null)
            .map(e => [e.textContent, e.getBoundingClientRect()])
            .filter(([, box]) => box.right > innerWidth + 1 || box.left < -1).map(([text]) => text)"""
    )
    assert cut == []


@SIZES
def test_letters_are_large_enough_to_read(chromium, written, width):
    tab, _ = opened(chromium, written, width)
    sizes = tab.evaluate(
        """() => [...document.querySelectorAll('td, th, p, li, figcaption, small')].filter(e => e.checkVisibility())
            .map(e => parseFloat(getComputedStyle(e).fontSize))"""
    )
    assert min(sizes) >= 12
    drawn = tab.evaluate(
        """() => [...document.querySelectorAll('.plots svg text')].filter(e => e.checkVisibility())
            .map(e => parseFloat(getComputedStyle(e).fontSize) * Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b))"""
    )
    assert min(drawn) >= 9.5


def luminance(colour: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@SCHEMES
def test_every_colour_stands_out_from_the_ground_in_both_themes(chromium, written, scheme):
    tab, _ = opened(chromium, written, scheme=scheme)
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(ground) > 0.5) == (scheme == "light")
    for selector, least in (("body", 7.0), ("thead th", 4.5), (".command", 4.5), ("figcaption", 4.5)):
        colour = tab.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color")
        assert contrast(colour, ground) >= least, selector
    for index in range(len(NAMES)):
        colour = tab.evaluate(
            f"getComputedStyle(document.querySelectorAll('.legend .swatch')[{index}]).backgroundColor"
        )
        assert contrast(colour, ground) >= 3.0
    words = tab.evaluate("getComputedStyle(document.querySelector('.plots .wide svg text')).fill")
    assert contrast(words, ground) >= 3.0


def line(tab) -> float:
    """Where the dividing line stands, as a share of the picture's width."""
    return tab.evaluate(
        """() => { const wipe = document.querySelector('.wipe').getBoundingClientRect();
            const line = document.querySelector('.wipe .line').getBoundingClientRect();
            return (line.left + line.width / 2 - wipe.left) / wipe.width; }"""
    )


@SIZES
def test_the_slider_wipes_by_mouse_and_by_keyboard(chromium, written, width):
    tab, _ = opened(chromium, written, width)
    slider = tab.locator(".wipe input").first
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert line(tab) == pytest.approx(0.5, abs=0.01)
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] / 2, middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.8 * box["width"], middle, steps=5)
    tab.mouse.up()
    assert line(tab) == pytest.approx(0.8, abs=0.02)
    for _ in range(10):
        tab.keyboard.press("ArrowLeft")
    assert line(tab) < 0.73
    tab.keyboard.press("Home")
    assert line(tab) < 0.06
    tab.keyboard.press("End")
    assert line(tab) > 0.94


def test_left_of_the_line_is_the_left_picture_and_right_of_it_the_right_one(chromium, written):
    tab, _ = opened(chromium, written)
    detail = tab.locator(".detail").first
    detail.locator("select.left").select_option("original")
    detail.locator("select.right").select_option("reference")
    wipe = detail.locator(".wipe")
    wipe.scroll_into_view_if_needed()
    image = np.asarray(Image.open(io.BytesIO(wipe.screenshot())).convert("RGB")).astype(int)
    middle = image[image.shape[0] // 4]
    assert np.abs(middle[40:60] - 200).max() <= 2
    assert np.abs(middle[-60:-40] - 120).max() <= 2


def test_the_page_is_one_file_that_refers_to_nothing_else(written):
    text = written.read_text()
    assert [path.name for path in written.parent.iterdir()] == ["index.html"]
    outside = re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", text)
    assert outside == []
    assert not re.search(r"@import|url\((?!#)", text)
    assert "&lt;b&gt;not bold" in text
    assert "NaN" not in text


def test_ids_are_unique_and_no_placeholder_colour_is_left(written):
    text = written.read_text()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 20
    assert set(re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', text)) <= {(i, "") for i in ids} | {
        ("", i) for i in ids
    }
    assert not re.search(r"#(010203|020304|030405|0a0b1[0-9a-f])", text)


def test_the_json_of_such_a_result_is_json(result, tmp_path):
    result.write(tmp_path / "b.json")
    content = json.loads((tmp_path / "b.json").read_text())
    assert content["candidates"][-1]["latencies"] == []
    assert content["candidates"][1]["latencies"][0]["verdict"] == "faster"


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
        """() => [...document.querySelectorAll('.sheets td')].filter(e => e.scrollWidth > e.clientWidth + 1)
            .map(e => e.dataset.label)"""
    )
    assert wide == []


def test_no_figure_is_broken_in_two_on_a_telephone(chromium, tmp_path, result):
    more = Sheet("Tile drift", ("artefact", "PSNR-Y in tiles", "device latency", "to one piece"))
    more.add("a", "37.626", "12.345 / 23.456", "63.2")
    tab, _ = opened(chromium, write_page(result, tmp_path, [more]), 400)
    broken = tab.evaluate(
        """() => [...document.querySelectorAll('.sheets td')].filter(e => e.dataset.label !== 'worst image')
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


def test_the_knob_shows_which_way_it_moves(chromium, written):
    tab, _ = opened(chromium, written)
    drawn = tab.evaluate("getComputedStyle(document.querySelector('.wipe .line'), '::after').content")
    assert (
        drawn.strip('"') == "\N{BLACK LEFT-POINTING SMALL TRIANGLE}\N{EN SPACE}\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
    )


def test_warnings_stand_before_the_first_table(chromium, written):
    tab, _ = opened(chromium, written)
    notes, sheet = (tab.locator(each).first.bounding_box()["y"] for each in (".notes", ".sheet"))
    assert notes < sheet


def test_columns_of_plots_end_near_each_other(chromium, written):
    tab, _ = opened(chromium, written)
    ends = []
    for column in tab.locator(".plots .column").all():
        box = column.locator("figure").last.bounding_box()
        ends.append(box["y"] + box["height"])
    assert len(ends) == 2
    assert abs(ends[0] - ends[1]) < 40


def test_warnings_are_on_the_page_as_in_the_terminal(chromium, written, result):
    tab, _ = opened(chromium, written)
    said = tab.locator(".notes li").all_inner_texts()
    assert said == list(result.remarks)
