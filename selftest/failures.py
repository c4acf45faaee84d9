"""A pytest plugin that tells a failure when it happens: the run may be ended before pytest's own summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

MARK = "WORDS"
SHOWN = 1500
"""Characters of a failure, from its end, where the error stands."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line for every failed phase of a test."""
    if report.failed:
        words = " ".join(f"{report.longreprtext}\n{report.capstderr}".split())
        print(f"\n{MARK} {report.nodeid}: {words[-SHOWN:]}", flush=True)
