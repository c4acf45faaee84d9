"""The bar of the command line."""

from __future__ import annotations

import io
import os

import pytest

from defian_edge.runtime.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_how_far_and_how_long_and_is_silent_in_a_pipe():
    now = [0.0]
    terminal, pipe = Terminal(), io.StringIO()
    with ProgressBar(10, terminal, lambda: now[0]) as bar, ProgressBar(10, pipe, lambda: now[0]) as silent:
        for _ in range(5):
            now[0] += 12
            bar.step()
            silent.step()
    assert "[###############...............] 5/10 1:00 left" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert pipe.getvalue() == ""
    assert ProgressBar(None, pipe, lambda: now[0]).line(now[0] + 1) == "0 done, 0.0/s"


@pytest.mark.parametrize("columns", [20, 30, 40, 80, 200])
def test_the_bar_never_takes_more_than_a_line(monkeypatch, columns):
    """A longer one would scroll instead of being drawn in place."""
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    monkeypatch.setattr(Terminal, "fileno", lambda _: 2)
    bar = ProgressBar(123456, Terminal(), lambda: 0.0)
    bar.step(61728)
    line = bar.line(30.0)
    assert "61728/123456 0:30 left" in line
    assert len(line) < max(columns, len("61728/123456 0:30 left") + 1)
    assert ("[" in line) == (columns >= 30)
