"""What the tests marked ``gpu`` ask of a real GPU, on the stand-in driver: so they are known to run and to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.device.engines import GRAPH, write_engine
from tests.doubles.graph_file import write_file
from tests.runtime import engine_checks
from tests.runtime.engine_checks import *  # noqa: F403

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("trt")
engine_checks.ROOM = 1


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def files(request, tmp_path, monkeypatch) -> list[Path]:
    """The tiny graph and an engine of it."""
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "cache"))
    graph = write_file(tmp_path / "tiny.fp32.onnx", GRAPH.read_bytes())
    return [graph, write_engine(tmp_path, flavour=request.param)]
