"""Tests on the stand-in CUDA driver, in a process of their own: ``tests/runtime/test_on_stand_in.py`` starts it.

Anywhere else they are not collected, so that no other test ever meets a driver that is none.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import pytest

from tests.device.engines import Reference
from tests.doubles.standin_driver import AVAILABLE, StandInDriver
from tests.doubles.tensorrt_module import TensorRt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

collect_ignore_glob = [] if AVAILABLE else ["test_*.py"]


def pytest_configure(config: pytest.Config) -> None:
    """Most engines here have no reference pack, which is said each time; ``test_first_open.py`` holds it to that."""
    config.addinivalue_line("filterwarnings", "ignore:.*nothing was checked on this device:UserWarning")


@pytest.fixture(autouse=True)
def driver() -> Iterator[StandInDriver]:
    """The driver, which must be left as it was found: nothing alive, nothing misused, no context current."""
    stand_in = StandInDriver()
    stand_in.reset()
    lost = stand_in.ask("lost")
    yield stand_in
    stand_in.fail(0)
    stand_in.library.standin_break(0)
    gc.collect()  # the frames of an error that a test has caught can hold what they were called with in a cycle
    left = {name: stand_in.ask(name) for name in ("live", "contexts", "depth", "misuses")}
    assert left == dict.fromkeys(left, 0)
    assert stand_in.ask("lost") == lost


@pytest.fixture(autouse=True)
def verified(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where verdicts on engines are kept: nothing of one test is known in the next."""
    folder = tmp_path_factory.mktemp("verdicts")
    monkeypatch.setattr("defian_edge.runtime.verify.first_open.cache_folder", lambda: folder)
    return folder / "verified"


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> Iterator[TensorRt]:
    """The TensorRT double, under both modules' names; what went wrong inside a run is raised at the end."""
    module = TensorRt()
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, module)  # pyright: ignore[reportArgumentType]
    yield module
    for error in module.work.errors:
        raise error
    assert module.late == 0, "an engine or execution context outlived the session's CUDA context"


@pytest.fixture(scope="session")
def reference() -> Reference:
    """The right pixels."""
    return Reference()
