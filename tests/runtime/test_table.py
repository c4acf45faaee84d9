"""Tables as text: columns where there is room, records where there is none, and nothing cut in any width."""

from __future__ import annotations

import pytest

from defian_edge.runtime.table import Table, shown_width, terminal_width

NAME = "a-network-with-a-name-of-more-than-forty-letters-x2.int8.onnx"
TABLE = Table(
    "Latency",
    ("artefact", "min", "worst image", "ratio to the first", "GPU compute of the slowest of all candidates"),
    [(NAME, "12.34", "an image of a name.png", "0.721 [0.691, 0.731] faster", "231.9"), ("b", "9.1", "", "1", "-")],
    words=("worst image",),
)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 132, 1000])
def test_no_figure_and_no_name_is_cut_in_any_width(width):
    lines = TABLE.lines(width)
    words = " ".join(lines).split()
    for cell in (*TABLE.rows[0], *TABLE.rows[1], *TABLE.columns[1:]):
        assert all(word in words for word in cell.split()), cell
    assert all(len(line) <= width for line in lines if NAME not in line)


def test_a_narrow_terminal_gets_a_line_a_field():
    assert TABLE.lines(40) == [
        NAME,
        "  min 12.34",
        "  worst image an image of a name.png",
        "  ratio to the first",
        "    0.721 [0.691, 0.731] faster",
        "  GPU compute of the slowest of all",
        "  candidates",
        "    231.9",
        "b",
        "  min 9.1",
        "  ratio to the first 1",
        "  GPU compute of the slowest of all",
        "  candidates",
        "    -",
    ]


def test_a_wide_terminal_gets_columns_words_to_the_left_and_figures_to_the_right():
    sheet = Table("", ("artefact", "ms", "image"), [("a", "12.3", "x"), ("bcd", "4.5", "longer")], words=("image",))
    assert sheet.lines(40) == [
        "  artefact    ms  image",
        "  a         12.3  x",
        "  bcd        4.5  longer",
    ]


def test_letters_of_two_columns_count_for_two():
    assert [shown_width(text) for text in ("abc", "日本", "e\u0301")] == [3, 4, 1]
    assert shown_width(Table("", ("a", "b"), [("日本", "1")]).lines()[1]) == 9


def test_a_file_has_no_width_and_columns_says_otherwise(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", None)
    assert terminal_width() > 100_000
    monkeypatch.setenv("COLUMNS", "40")
    assert terminal_width() == 40
