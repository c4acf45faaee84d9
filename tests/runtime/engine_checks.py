"""What an engine must do on a GPU (``test_engine_gpu.py``) as on the stand-in driver (``tests/device``).

Each test is given ``files``: the tiny graph and an engine of it that takes 1x8x8 to 2x64x64, manifests beside them.
"""

from __future__ import annotations

import json
import math
import shutil
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import manifest_path
from defian_edge.runtime.onnx_session import OnnxSession
from defian_edge.runtime.session import open_session
from defian_edge.runtime.tiles import TiledSession
from defian_edge.runtime.tiling import Tiling

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSE = 50.0
"""PSNR in dB between an engine's pixels and ONNX Runtime's: a GPU rounds in another order, and may use TF32."""


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def assert_close(image: np.ndarray, expected: np.ndarray) -> None:
    """The same shape, and at least ``CLOSE``."""
    assert image.shape == expected.shape
    error = float(np.mean((image.astype(float) - expected) ** 2))
    assert error == 0 or 10 * math.log10(255**2 / error) > CLOSE


@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_pixels_are_those_of_the_graph_for_every_shape_and_batch(files, cuda_graphs):
    graph, engine = files
    with OnnxSession(graph) as reference, EngineSession(engine, EngineBackend(cuda_graphs=cuda_graphs)) as session:
        for turn in range(4):
            for shape in ((1, 32, 32, 3), (2, 17, 64, 3), (1, 9, 8, 3)):
                images = noise(*shape, seed=turn)
                assert_close(session(images), reference(images))
        assert session.profile is not None
        assert "CUDA graphs" in session.describe()
        assert session.guard.suspicious == 0


def test_a_stream_of_frames_is_that_of_single_calls(files):
    source = [noise(32 + index // 8, 40, 3, seed=index) for index in range(40)]
    with EngineSession(files[1]) as session:
        streamed = list(session.upscale_frames(source))
        single = [session(frame[None])[0] for frame in source]
    assert all(np.array_equal(first, second) for first, second in zip(streamed, single, strict=True))


def test_tiles_of_an_image_too_large_for_the_engine_are_those_of_the_graph(files):
    graph, engine = files
    images, tiling = noise(1, 100, 70, 3), Tiling(64, 64, 16)
    with OnnxSession(graph) as whole, EngineSession(engine) as session:
        assert_close(TiledSession(session, tiling, always=False)(images), TiledSession(whole, tiling)(images))


def test_the_parts_of_a_call_are_timed_on_the_device(files):
    with EngineSession(files[1]) as session:
        for _ in range(3):
            session(noise(1, 64, 64, 3))
        spent = session.timings()
    assert set(spent) == {"enqueue", "h2d", "compute", "d2h"}
    assert all(0 <= seconds < 10 for seconds in spent.values())
    assert spent["compute"] > 0


def test_an_exception_in_the_middle_comes_after_the_results_and_the_session_goes_on(files):
    def broken() -> Iterator[np.ndarray]:
        yield from (noise(16, 16, 3, seed=seed) for seed in range(5))
        raise OSError("the camera is gone")

    with EngineSession(files[1]) as session:
        results: list[np.ndarray] = []
        with pytest.raises(OSError, match="camera"):
            results.extend(session.upscale_frames(broken()))
        assert len(results) == 5
        left = session.upscale_frames(noise(16, 16, 3, seed=seed) for seed in range(9))
        first = next(left)
        left.close()
        assert np.array_equal(first, session(noise(1, 16, 16, 3))[0])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (noise(1, 65, 16, 3), "nearest that fits is 1x64x16"),
        (noise(3, 16, 99, 3), "nearest that fits is 2x16x64"),
        (noise(1, 16, 16, 3).astype(np.float32), "Expected uint8 RGB images"),
        (noise(16, 16, 3), "Expected uint8 RGB images"),
        (noise(0, 16, 16, 3), "Expected at least one image"),
        (None, "Expected a numpy array"),
    ],
)
def test_what_an_engine_cannot_take_is_refused_and_the_session_goes_on(files, images, message):
    with EngineSession(files[1]) as session:
        with pytest.raises(DefianError, match=message):
            session(images)
        assert session(noise(1, 16, 16, 3)).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("fact", "value", "message"),
    [
        ("version", "9.0.0", r"expected tensorrt\S* 9\.0\.0, which built it, found"),
        ("compute_capability", "3.5", "expected a GPU of compute capability 3.5, found"),
        ("activation_bytes", 1 << 50, "MiB of free GPU memory, found"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused_before_it_is_loaded(files, tmp_path, fact, value, message):
    copy = tmp_path / "copy" / files[1].name
    copy.parent.mkdir()
    shutil.copy(files[1], copy)
    content = json.loads(manifest_path(files[1]).read_text())
    content["engine"][fact] = value
    manifest_path(copy).write_text(json.dumps(content))
    with pytest.raises(DefianError, match=message) as raised:
        open_session(copy)
    assert "export.py" in raised.value.hint


def test_a_session_belongs_to_its_thread_and_another_opens_its_own(files):
    images, said, results = noise(1, 16, 16, 3), [], []

    def elsewhere() -> None:
        try:
            session(images)
        except DefianError as error:
            said.append(str(error))
        with EngineSession(files[1]) as own:
            results.append(own(images))

    with EngineSession(files[1]) as session:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert "belongs to the thread" in said[0]
        assert np.array_equal(results[0], session(images))


def memory_in_use() -> int:
    """Bytes of the GPU's memory that are not free."""
    import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]

    free, total = cuda.mem_get_info()
    return total - free


@pytest.fixture
def held_context():
    """Somebody else's reference to the primary context, current all the time, as in a process with PyTorch."""
    import ctypes

    import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]

    cuda.init()
    held = cuda.Device(0).retain_primary_context()
    held.push()
    yield cuda
    cuda.Context.pop()
    held.detach()
    ctypes.CDLL("libcuda.so.1").cuCtxPopCurrent_v2(None)


ROOM = 4 << 20
"""What a GPU's allocator may round up."""


def test_sessions_leave_the_gpus_memory_as_they_found_it(files, held_context):
    with EngineSession(files[1]) as session:
        session(noise(1, 32, 32, 3))
    before = memory_in_use()
    for _ in range(5):
        with EngineSession(files[1]) as session:
            for side in range(8, 64, 7):
                session(noise(1, side, side, 3))
            list(session.upscale_frames(noise(8, side, 3) for side in range(8, 24)))
    assert memory_in_use() - before < ROOM
    held_context.mem_alloc(16).free()  # whose context is still current


def test_two_thousand_frames_of_changing_shapes_hold_memory_flat(files, held_context):
    assert held_context is not None
    used = []
    with EngineSession(files[1]) as session:
        for index in range(2000):
            session(noise(1, 8 + index % 7, 9 + index % 5, 3, seed=index % 3))
            used.append(memory_in_use())
    assert max(used[500:]) - max(used[:500]) < ROOM
