"""What the tests marked ``gpu`` ask of a real GPU, on the stand-in driver: so they are known to run and to hold."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest

from defian_edge.runtime.manifest import Manifest
from tests.device.engines import GRAPH, write_engine
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
    graph = tmp_path / "tiny.fp32.onnx"
    shutil.copy(GRAPH, graph)
    digest = hashlib.sha256(graph.read_bytes()).hexdigest()
    Manifest(graph.name, digest, "tiny", 2, "fp32", "uint8", "0" * 64, "python export.py").write(tmp_path)
    return [graph, write_engine(tmp_path, flavour=request.param)]
