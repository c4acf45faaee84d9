"""The device path on a real GPU with real TensorRT: what ``engine_checks.py`` asks of every engine. Skips elsewhere."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from filelock import FileLock

from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import Manifest
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import random_checkpoint, tiny
from tests.runtime.engine_checks import *  # noqa: F403
from tests.runtime.engine_checks import noise

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.gpu
PROFILE = ShapeProfile.parse("1x8x8,1x32x32,2x64x64")


@pytest.fixture(scope="module", params=[Target.TENSORRT, Target.TENSORRT_RTX], ids=lambda target: target.value)
def files(request, traced, tmp_path_factory):
    """A tiny graph and the engine of it for this GPU."""
    cuda = pytest.importorskip("pycuda.driver", reason="pycuda or the NVIDIA driver is not installed")
    if not is_available(request.param):
        pytest.skip(f"{request.param.value} is not installed")
    try:
        cuda.init()
        major, minor = cuda.Device(0).compute_capability()
    except cuda.Error as error:
        pytest.skip(f"no GPU: {error}")
    folder = tmp_path_factory.mktemp("engine")
    graph = ir.to_proto(traced(random_checkpoint(tiny()))).SerializeToString()
    sm = 10 * major + minor if request.param is Target.TENSORRT_RTX else None
    try:
        built = build_engine(graph, EngineOptions(request.param, PROFILE, uint8=True, sm=sm))
    except DefianError as error:
        pytest.skip(str(error))
    made = []
    for name, content, engine in (("tiny.onnx", graph, None), ("tiny.engine", built.plan, built.facts)):
        path = folder / name
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        profile = PROFILE if engine is not None else None
        Manifest(
            name, digest, "tiny", 2, "fp32", "uint8", "0" * 64, "python export.py", profile=profile, engine=engine
        ).write(folder)
        made.append(path)
    return made


@pytest.fixture(autouse=True)
def alone(tmp_path_factory) -> Iterator[None]:
    """One test at a time has the GPU: some look at its free memory."""
    with FileLock(tmp_path_factory.getbasetemp().parent / "gpu.lock"):
        yield


def test_pytorch_and_a_session_share_a_process(files):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    images = noise(1, 32, 32, 3)
    values = torch.arange(1000, device="cuda")
    with EngineSession(files[1]) as session:
        first = session(images)
        assert int(values.sum()) == 499_500
        assert np.array_equal(session(images), first)
    assert int((values + torch.ones_like(values)).sum()) == 500_500
