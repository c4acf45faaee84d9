"""The device path on a real GPU with real TensorRT: build, run, compare with ONNX Runtime. Skips elsewhere."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx_ir as ir
import pytest

from calibration.metrics import psnr
from export.compiler import Target, is_available
from export.engine import EngineOptions, build_engine
from runtime.engine.session import EngineSession, RunOptions
from runtime.errors import DefianError
from runtime.manifest import Manifest
from runtime.onnx_session import OnnxSession
from runtime.profile import ShapeProfile
from tests.conftest import noise, random_checkpoint, tiny

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


@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_pixels_are_those_of_the_graph(files, cuda_graphs):
    graph, engine = files
    options = RunOptions(cuda_graphs=cuda_graphs)
    with OnnxSession(graph) as reference, EngineSession(engine, options) as session:
        for turn in range(4):
            for shape in ((1, 32, 32, 3), (2, 17, 64, 3)):
                images = noise(*shape, seed=turn)
                assert psnr(session(images), reference(images)) > 50
        assert 0 < session.timings()["compute"] < 10
        print(session.describe())


def test_a_stream_of_frames_is_that_of_single_calls(files):
    source = [noise(32, 40, 3, seed=seed) for seed in range(20)]
    with EngineSession(files[1]) as session:
        streamed = list(session.upscale_frames(source))
        single = [session(frame[None])[0] for frame in source]
    assert all(np.array_equal(first, second) for first, second in zip(streamed, single, strict=True))


def test_sessions_leave_the_gpus_memory_as_they_found_it(files):
    import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]

    held = cuda.Device(0).retain_primary_context()
    held.push()
    try:
        with EngineSession(files[1]) as session:
            session(noise(1, 32, 32, 3))
        before, _ = cuda.mem_get_info()
        for _ in range(5):
            with EngineSession(files[1]) as session:
                for side in range(8, 64, 7):
                    session(noise(1, side, side, 3))
        after, _ = cuda.mem_get_info()
        assert before - after < 4 << 20
    finally:
        cuda.Context.pop()
