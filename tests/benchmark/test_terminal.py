"""The tables in terminals of several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from defian_edge.benchmark.report import plain
from defian_edge.benchmark.report.table import Table
from defian_edge.benchmark.report.terminal import show_table
from defian_edge.benchmark.words import milliseconds

TABLE = Table(
    "Latency [at] 1x64x96",
    ("artefact", "min", "median", "ratio to the first"),
    [("a-network-with-a-long-name-x2.int8.onnx", "12.34", "231.9", "0.721 [0.691, 0.731] faster")],
)


def printed(width: int) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    show_table(TABLE, console)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [40, 60, 70, 80, 90, 100, 200])
def test_no_figure_is_broken_in_any_width(width):
    lines = printed(width)
    assert all(len(line) <= width for line in lines if "long-name" not in line)
    for cell in ("12.34", "231.9"):
        assert any(cell in line for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "0.721 [0.691, 0.731] faster" in text
    assert "Latency [at] 1x64x96" in text


def test_a_wide_terminal_gets_a_table_and_a_narrow_one_a_list():
    assert any("┃" in line for line in printed(100))
    narrow = printed(60)
    assert not any("┃" in line for line in narrow)
    assert narrow[2:] == ["  min 12.34", "  median 231.9", "  ratio to the first 0.721 [0.691, 0.731] faster"]


def test_without_rich_it_is_the_same_and_nothing_is_cut(monkeypatch, capsys):
    for columns, lines in ((200, 3), (40, 6)):
        monkeypatch.setenv("COLUMNS", str(columns))
        plain.show_table(TABLE, plain.open_console())
        said = capsys.readouterr().out
        assert len(said.splitlines()) == lines
        assert all(cell in " ".join(said.split()) for cell in TABLE.rows[0])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0012345, "1.234"), (0.0123456, "12.35"), (0.2319, "231.9"), (0.0000042, "0.004")]
)
def test_milliseconds_have_the_figures_that_a_gpu_needs(seconds, text):
    assert milliseconds(seconds) == text
