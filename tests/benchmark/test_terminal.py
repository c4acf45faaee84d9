"""The tables in terminals of several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from defian_edge.benchmark.report.table import Table
from defian_edge.benchmark.report.terminal import FILE_WIDTH, open_console, show_table
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


@pytest.mark.parametrize("width", [60, 70, 80, 90, 100, 200])
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
    assert narrow[2:] == ["  min 12.34   median 231.9", "  ratio to the first 0.721 [0.691, 0.731] faster"]


def test_a_file_is_as_wide_as_a_log_unless_columns_says_otherwise(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert open_console().width == FILE_WIDTH
    monkeypatch.setenv("COLUMNS", "77")
    assert open_console().width == 77
    capsys.readouterr()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0012345, "1.234"), (0.0123456, "12.35"), (0.2319, "231.9"), (0.0000042, "0.004")]
)
def test_milliseconds_have_the_figures_that_a_gpu_needs(seconds, text):
    assert milliseconds(seconds) == text
