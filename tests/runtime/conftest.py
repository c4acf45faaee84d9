"""In the gate nothing of this room is skipped but what needs a GPU."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

import pytest

from defian_edge.runtime.cluster.connect import NO_MESSAGES, NO_STATISTICS

if TYPE_CHECKING:
    from collections.abc import Generator

os.environ.update(NO_STATISTICS | NO_MESSAGES)
"""Ray reads them when it is imported, and any test of this process may be the first that does."""

WITH_TORCH = ["engine_gpu", "played_engine_gpu", "plugin", "triton_server", "verify"]
collect_ignore = [] if importlib.util.find_spec("torch") else [f"test_{name}.py" for name in WITH_TORCH]
"""Files that need PyTorch to be read, which a device and ``make matrix`` do not have."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """A skipped test is a failed one where ``DEFIAN_CI`` is set."""
    report = yield
    return _strict(report, needs_gpu=item.get_closest_marker("gpu") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """The same for a file that skips as a whole."""
    report = yield
    return _strict(report, needs_gpu=False)


def _strict(report: Any, *, needs_gpu: bool) -> Any:  # noqa: ANN401 - a report of a test or of a collection
    if "DEFIAN_CI" in os.environ and report.skipped and not needs_gpu:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"DEFIAN_CI is set and this was skipped: {reason}"
    return report
