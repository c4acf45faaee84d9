"""The page in a real browser: Chromium, headless, from a file, offline."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.benchmark.browser import SIZES, opened
from tests.benchmark.results import NAMES

SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


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


def test_the_knob_shows_which_way_it_moves(chromium, written):
    tab, _ = opened(chromium, written)
    drawn = tab.evaluate("getComputedStyle(document.querySelector('.wipe .line'), '::after').content")
    assert (
        drawn.strip('"') == "\N{BLACK LEFT-POINTING SMALL TRIANGLE}\N{EN SPACE}\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
    )


def test_warnings_stand_before_the_first_table(chromium, written):
    tab, _ = opened(chromium, written)
    notes, table = (tab.locator(each).first.bounding_box()["y"] for each in (".notes", ".table"))
    assert notes < table


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
