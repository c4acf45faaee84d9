"""CUDA graphs and TensorRT-RTX's own settings: captured after a warm-up, checked, bounded, and never in the way."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.cache import keep, read_cached
from defian_edge.runtime.device.graph import import_bindings
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.session import open_session
from tests.device.engines import noise, write_engine

pytestmark = pytest.mark.usefixtures("trt")


def test_a_shape_is_captured_when_it_comes_back_and_replayed_from_then_on(tmp_path, trt, reference):
    with EngineSession(write_engine(tmp_path)) as session:
        for turn, enqueues in enumerate((1, 3, 3, 3)):  # the second run is eager and is captured as well
            images = noise(1, 8, 8, 3, seed=turn)
            assert np.array_equal(session(images), reference(images))
            assert trt.enqueues == enqueues
        assert "CUDA graphs on (1 captured)" in session.describe()


def test_each_shape_has_a_graph_of_its_own_and_the_oldest_goes(tmp_path, driver, reference):
    shapes = [(1, side, 8, 3) for side in range(5, 15)]
    with EngineSession(write_engine(tmp_path), EngineBackend(shapes=2)) as session:
        live = []
        for _ in range(2):
            for shape in shapes:
                for turn in range(3):
                    images = noise(*shape, seed=turn)
                    assert np.array_equal(session(images), reference(images))
                live.append(driver.ask("live"))
        assert len(set(live[2:])) == 1, "every shape beyond the second takes the place of another, graph and all"


def test_a_graph_that_differs_from_the_eager_result_is_not_used(tmp_path, trt, reference):
    trt.faults.spoiled_captures = True
    with EngineSession(write_engine(tmp_path)) as session:
        for turn in range(4):
            images = noise(1, 8, 8, 3, seed=turn)
            assert np.array_equal(session(images), reference(images))
        assert "CUDA graphs off: the captured graph gave another result" in session.describe()


@pytest.mark.parametrize("streaming", [False, True])
def test_an_engine_that_cannot_be_captured_runs_eagerly_and_the_session_says_why(tmp_path, trt, reference, streaming):
    trt.faults.refused_captures = True
    source = [noise(8, 8, 3, seed=turn) for turn in range(9)]
    with EngineSession(write_engine(tmp_path)) as session:
        results = session.upscale_frames(source) if streaming else (session(frame[None])[0] for frame in source)
        for frame, result in zip(source, results, strict=True):
            assert np.array_equal(result, reference(frame[None])[0])
        assert "CUDA graphs off: TensorRT failed at running the engine. It said: " in session.describe()
        assert "not permitted in a capture" in session.describe()


def test_without_cuda_bindings_runs_are_eager_and_the_session_says_why(tmp_path, monkeypatch, reference):
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with EngineSession(write_engine(tmp_path)) as session:
        for turn in range(3):
            images = noise(1, 8, 8, 3, seed=turn)
            assert np.array_equal(session(images), reference(images))
        assert "CUDA graphs off: Capturing CUDA graphs needs the package 'cuda-bindings'" in session.describe()


@pytest.mark.parametrize("function", ["cuStreamBeginCapture", "cuGraphInstantiate", "cuGraphLaunch"])
def test_a_driver_that_lacks_a_function_runs_eagerly_and_the_session_says_why(
    tmp_path, monkeypatch, reference, function
):
    def missing(*_: object) -> None:
        raise RuntimeError(f'Function "{function}" not found')

    monkeypatch.setattr(import_bindings(), function, missing)
    with EngineSession(write_engine(tmp_path)) as session:
        for turn in range(3):
            images = noise(1, 8, 8, 3, seed=turn)
            assert np.array_equal(session(images), reference(images))
        assert "CUDA graphs off: " in session.describe()
        assert f'a CUDA graph failed: Function "{function}" not found' in session.describe()


def test_a_capture_that_fails_after_others_leaves_them_and_the_session_says_both(tmp_path, trt, reference):
    with EngineSession(write_engine(tmp_path)) as session:
        for side in (8, 9):
            trt.faults.refused_captures = side == 9
            for turn in range(3):
                images = noise(1, side, 8, 3, seed=turn)
                assert np.array_equal(session(images), reference(images))
        enqueues = trt.enqueues
        session(noise(1, 8, 8, 3))
        assert trt.enqueues == enqueues, "the first shape's graph is still replayed"
        assert "CUDA graphs on (1 captured), no further ones: TensorRT failed" in session.describe()


def test_graphs_can_be_switched_off(tmp_path, trt):
    with EngineSession(write_engine(tmp_path), EngineBackend(cuda_graphs=False)) as session:
        for _ in range(3):
            session(noise(1, 8, 8, 3))
        assert trt.enqueues == 3
        assert "CUDA graphs off: switched off" in session.describe()


@pytest.mark.parametrize("wanted", [True, False])
def test_tensorrt_rtx_is_told_to_capture_graphs_itself(tmp_path, trt, wanted):
    engine = write_engine(tmp_path, flavour="tensorrt-rtx")
    with EngineSession(engine, EngineBackend(kernel_cache=False, cuda_graphs=wanted)) as session:
        session(noise(1, 8, 8, 3))
    [config] = trt.configs
    assert config.cuda_graph_strategy == ("WHOLE" if wanted else "DISABLED")
    assert config.cache is None


def test_tensorrt_rtx_compiles_its_kernels_once_and_finds_them_again(tmp_path, trt, monkeypatch):
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "cache"))
    engine = write_engine(tmp_path, flavour="tensorrt-rtx")
    for _ in range(3):
        with open_session(engine) as session:
            session(noise(1, 8, 8, 3))
    assert trt.compilations == 1
    [kept] = (tmp_path / "cache" / "tensorrt-rtx").iterdir()
    keep(kept, b"of another GPU")
    with open_session(engine) as session:
        session(noise(1, 8, 8, 3))
    assert trt.compilations == 2
    assert read_cached(kept) == b"compiled 1"


def test_a_kernel_cache_that_cannot_be_written_costs_no_run(tmp_path, monkeypatch, reference):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "file"))
    images = noise(1, 8, 8, 3)
    with open_session(write_engine(tmp_path, flavour="tensorrt-rtx")) as session:
        assert np.array_equal(session(images), reference(images))


def test_a_kernel_cache_that_cannot_be_read_or_made_costs_no_run(tmp_path, trt, monkeypatch, driver, reference):
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "cache"))
    engine, images = write_engine(tmp_path, flavour="tensorrt-rtx"), noise(1, 8, 8, 3)
    with open_session(engine) as session:
        session(images)
    [kept] = (tmp_path / "cache" / "tensorrt-rtx").iterdir()
    kept.unlink()
    kept.mkdir()
    trt.faults.no_kernel_blob = True
    with open_session(engine) as session:
        assert np.array_equal(session(images), reference(images))
    assert driver.ask("live") == 0
