"""What ``engine_checks.py`` asks of every engine, on a real GPU without TensorRT: PyTorch plays the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
import pytest
import torch
from filelock import FileLock

from defian_edge.runtime.profile import ShapeProfile
from defian_edge.selftest.played_engine import played, write_played_engine
from defian_edge.selftest.torch_network import fp32_upscaler
from tests.conftest import random_checkpoint, tiny
from tests.doubles.graph_file import write_file
from tests.runtime import engine_checks
from tests.runtime.engine_checks import *  # noqa: F403

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.gpu
PROFILE = ShapeProfile.parse("1x8x8,1x32x32,2x64x64")


@pytest.fixture(scope="module")
def files(traced, tmp_path_factory) -> Iterator[list[Path]]:
    """A tiny graph, and a plan that PyTorch plays with the same weights, all of this module's time."""
    cuda = pytest.importorskip("pycuda.driver", reason="pycuda or the NVIDIA driver is not installed")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch finds no GPU")
    cuda.init()
    checkpoint = random_checkpoint(tiny())
    folder = tmp_path_factory.mktemp("played")
    graph = write_file(folder / "tiny.onnx", ir.to_proto(traced(checkpoint)).SerializeToString())
    capability = "{}.{}".format(*torch.cuda.get_device_capability())
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    with played(fp32_upscaler(checkpoint), 2):
        yield [graph, write_played_engine(folder / "engine", 2, PROFILE, capability, "python export.py")]


@pytest.fixture(autouse=True)
def without_pytorchs_own(monkeypatch) -> None:
    """PyTorch keeps memory for later; what the runtime takes and gives back is the rest."""
    taken = engine_checks.memory_in_use
    monkeypatch.setattr(engine_checks, "memory_in_use", lambda: taken() - torch.cuda.memory_reserved())


@pytest.fixture(autouse=True)
def alone(tmp_path_factory) -> Iterator[None]:
    """One test at a time has the GPU: some look at its free memory."""
    with FileLock(tmp_path_factory.getbasetemp().parent / "gpu.lock"):
        yield
