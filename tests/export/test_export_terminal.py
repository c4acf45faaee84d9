"""An export's tables in terminals of several widths: all figures and names, whatever is in a name."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from defian_edge.export.terminal import FILE_WIDTH, open_console, show_table
from defian_edge.runtime.table import Table

NAME = "build[v2]/[/red]a picture [bold]of a rather long name.png"
TABLE = Table(
    "Drift [at] all",
    ("variant", "PSNR-Y", "worst image", "to reference"),
    [("fp16", "36.465", NAME, "61.9"), ("int8", "36.454", "b\x1b[31m.png", "56.2")],
    words=("worst image",),
)


def printed(width: int) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    show_table(TABLE, console)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 90, 100, 200])
def test_nothing_is_cut_and_nothing_in_a_name_is_markup(width):
    lines = printed(width)
    text = " ".join(" ".join(lines).split())
    for cell in ("36.465", "61.9", "36.454", "56.2", NAME, "b\\x1b[31m.png", "Drift [at] all"):
        assert cell in text
    assert all(len(line) <= width for line in lines)
    assert "\x1b" not in text
    assert "…" not in text
    assert any("┃" in line for line in lines) == (width >= 100)


def test_a_file_is_as_wide_as_a_log_unless_columns_says_otherwise(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert open_console().width == FILE_WIDTH
    monkeypatch.setenv("COLUMNS", "77")
    assert open_console().width == 77
    capsys.readouterr()
