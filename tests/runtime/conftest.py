"""In the gate nothing of this room is skipped but what needs a GPU."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

import pytest

from defian_edge.runtime.cluster.connect import NO_MESSAGES, NO_STATISTICS
from tests.doubles.graph_file import write_file

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from tests.doubles.ray_cluster import RayCluster

os.environ.update(NO_STATISTICS | NO_MESSAGES)
"""Ray reads them when it is imported, and any test of this process may be the first that does."""

WITH_TORCH = ["engine_gpu", "played_engine_gpu", "plugin", "triton_server", "verify"]
collect_ignore = [] if importlib.util.find_spec("torch") else [f"test_{name}.py" for name in WITH_TORCH]
"""Files that need PyTorch to be read, which a device and ``make matrix`` do not have."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A real cluster of one machine that gives out ``CPUS``."""
    from tests.doubles.ray_cluster import CPUS, RayCluster, require_ray

    require_ray()
    with RayCluster(CPUS) as running:
        yield running


@pytest.fixture(scope="module")
def shared_graph(tmp_path_factory, tiny_graph) -> Path:
    """The tiny graph with its manifest, for tests that leave it as it is."""
    return write_file(tmp_path_factory.mktemp("graph") / "tiny.fp32.onnx", tiny_graph)


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
