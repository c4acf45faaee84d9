"""The selftest's stages of engines, on the stand-in driver and an engine double; planted faults must be found."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.photos import EvaluationPair
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.errors import DefianError, MissingPackageError
from defian_edge.runtime.files import sha256_of
from defian_edge.runtime.manifest import Manifest
from defian_edge.selftest import building, engines
from defian_edge.selftest.protocol import CannotRun, Record, Settings
from defian_edge.selftest.stages import frames, session, soak
from tests.device.engines import GRAPH, Reference, noise, write_engine

if TYPE_CHECKING:
    from defian_edge.export.engine.lowering import Eigen

pytestmark = pytest.mark.usefixtures("trt")


@pytest.fixture
def record(tmp_path) -> Record:
    return Record(tmp_path / "result.json")


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    """A run in which an earlier stage has built the double's engine; few and small frames."""
    engine = write_engine(tmp_path / "engines", flavour="tensorrt-rtx")
    for stage in (frames, soak):
        monkeypatch.setattr(stage, "engine_for_frames", lambda _: engine)
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(frames, "SHAPE", (12, 16))
    monkeypatch.setattr(frames, "SIZES", ((8, 8), (12, 16)))
    monkeypatch.setattr(frames, "FRAMES", 10)
    monkeypatch.setattr(soak, "SHAPES", ((8, 8), (9, 12), (12, 9), (16, 16), (8, 20)))
    monkeypatch.setattr(soak, "FRAMES", 120)
    monkeypatch.setattr(soak, "SETTLED", 20)
    return Settings(str(tmp_path), seconds=60.0)


def wrong(record: Record) -> list[str]:
    """Names of the checks that failed, as they stand in the file."""
    said = json.loads(record.path.read_text())
    return [check["name"] for check in said["checks"] if not check["passed"]]


def test_frames_gives_its_figures_and_finds_nothing_wrong(settings, record):
    frames.run(settings, record)
    assert wrong(record) == []
    assert set(record.figures) == {"frames", "first_picture_seconds", "compute_seconds"}
    assert record.figures["frames"]["frames_per_second"] > 0
    assert set(record.figures["frames"]["parts"]) == {"enqueue", "h2d", "compute", "d2h"}
    assert set(record.figures["compute_seconds"]) == {"graph 8x8", "graph 12x16", "eager 8x8", "eager 12x16"}


def test_frames_finds_a_stream_that_gives_another_picture(settings, record, monkeypatch):
    stream = EngineSession.upscale_frames

    def shifted(session, source):
        for frame in stream(session, source):
            yield np.roll(frame, 1, axis=1)

    monkeypatch.setattr(EngineSession, "upscale_frames", shifted)
    frames.run(settings, record)
    assert wrong(record) == ["streamed frames that differ"]


def test_frames_finds_a_cuda_graph_that_is_stale(settings, record, monkeypatch):
    call, count = EngineSession.__call__, [0]

    def stale(session, images):
        count[0] += 1
        result = call(session, images)
        return result + 1 if session.backend.cuda_graphs and count[0] > 40 and images.shape[1] == 8 else result

    monkeypatch.setattr(EngineSession, "__call__", stale)
    frames.run(settings, record)
    assert wrong(record) == ["graph 8x8: pictures that differ from the first"]


@pytest.fixture
def in_pytorchs_place(settings, monkeypatch, reference) -> None:
    """The stage ``session`` with the double in the place of PyTorch's network, which needs a real GPU."""
    engine = write_engine(Path(settings.folder) / "engines")
    monkeypatch.setattr(session.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(session, "open_gpu", lambda: nullcontext(SimpleNamespace(capability=(8, 9))))
    monkeypatch.setattr(session, "fp16_upscaler", lambda _: reference)
    monkeypatch.setattr(session, "alone", lambda network, images: network(images))
    monkeypatch.setattr(session, "write_played_engine", lambda *_: engine)
    monkeypatch.setattr(session, "played", lambda *_: nullcontext())
    monkeypatch.setattr(session, "SHAPES", ((8, 8), (9, 12), (16, 16), (8, 20)))


@pytest.mark.usefixtures("in_pytorchs_place")
def test_session_gives_its_figures_and_finds_nothing_wrong(settings, record):
    session.run(settings, record)
    assert wrong(record) == []
    assert set(record.figures) == {"frames", "compute_seconds", "soak"}
    assert "CUDA graphs on (4 captured)" in record.notes[0]


@pytest.mark.usefixtures("in_pytorchs_place")
def test_session_finds_values_that_are_not_pytorchs(settings, record, monkeypatch):
    call = EngineSession.__call__
    monkeypatch.setattr(EngineSession, "__call__", lambda self, images: call(self, images) ^ (self.graphs.captured > 2))
    session.run(settings, record)
    assert "values that PyTorch alone gives otherwise" in wrong(record)


@pytest.mark.usefixtures("in_pytorchs_place")
def test_session_finds_that_nothing_is_captured(settings, record, trt):
    trt.faults.refused_captures = True
    session.run(settings, record)
    assert wrong(record) == ["CUDA graphs captured"]


def test_soak_finds_nothing_wrong_and_says_how_many_frames_it_had_time_for(settings, record):
    soak.run(settings, record)
    assert wrong(record) == []
    assert record.figures["soak"]["frames"] == 120
    with pytest.raises(CannotRun, match="memory counts from frame 20 on"):
        soak.run(Settings(settings.folder, seconds=soak.SPARE_SECONDS), record)


def test_soak_finds_memory_that_is_not_given_back(settings, record, monkeypatch):
    call, kept = EngineSession.__call__, []

    def leaking(session, images):
        with session._device.current():
            kept.append(session._device.cuda.mem_alloc(1 << 20))
        return call(session, images)

    monkeypatch.setattr(EngineSession, "__call__", leaking)
    close = EngineSession.close

    def closing(session) -> None:
        with session._device.current():
            while kept:
                kept.pop().free()
        close(session)

    monkeypatch.setattr(EngineSession, "close", closing)
    soak.run(settings, record)
    assert wrong(record) == ["growth of the device's memory in bytes"]


def test_soak_finds_a_picture_that_changes_later(settings, record, monkeypatch):
    call, count = EngineSession.__call__, [0]

    def changing(session, images):
        count[0] += 1
        return call(session, images) ^ (count[0] == 77)

    monkeypatch.setattr(EngineSession, "__call__", changing)
    soak.run(settings, record)
    assert wrong(record) == ["pictures that changed"]


def test_without_an_engine_both_say_so(tmp_path, record):
    for stage in (frames, soak):
        with pytest.raises(CannotRun, match="built an engine"):
            stage.run(Settings(str(tmp_path)), record)


@pytest.fixture
def proving(tmp_path, monkeypatch) -> Settings:
    """``prove`` on the tiny graph: building writes the double's engine, and two noisy pictures are compared."""
    graph = tmp_path / "defian-s-x2.engine.fp16.onnx"
    graph.write_bytes(GRAPH.read_bytes())
    reference = Reference()
    pictures = [noise(10, 12, 3, seed=seed) for seed in range(2)]
    pairs = [EvaluationPair(str(seed), lr, reference(lr[None])[0]) for seed, lr in enumerate(pictures)]
    monkeypatch.setattr(building, "MODELS", ("defian-s-x2",))
    monkeypatch.setattr(building, "graphs_of", lambda *_, **__: [graph])
    monkeypatch.setattr(engines, "pairs_of", lambda *_: pairs)
    promised = [Evaluation(pair.hr, finite=True) for pair in pairs]
    monkeypatch.setattr(engines, "references", lambda *_: promised)
    monkeypatch.setattr(building, "bench", lambda *_, **__: [])
    monkeypatch.setattr(building, "_memory", lambda *_: {})
    Manifest(graph.name, sha256_of(graph), "tiny", 2, "fp16", "uint8", "0" * 64, "").write(tmp_path)
    monkeypatch.setattr(building, "build", lambda *given: write_engine(Path(f"{given[1]}-{given[-1].value}")))
    return Settings(str(tmp_path))


TARGET: Any = SimpleNamespace(value="tensorrt-rtx")


def test_engines_are_compared_with_the_emulation_pixel_by_pixel(proving, record):
    building.prove(proving, record, TARGET, 89)
    assert wrong(record) == []
    assert set(record.figures) == {"engines", "bench defian-s-x2", "memory defian-s-x2"}
    [found] = record.figures["engines"].values()
    assert found["equal_share"] == 1.0
    assert found["largest_step"] == 0
    assert found["planned_bytes"] == 1 << 20


def test_an_engine_with_another_picture_is_found(proving, record, monkeypatch):
    call = EngineSession.__call__
    monkeypatch.setattr(EngineSession, "__call__", lambda session, images: np.roll(call(session, images), 1, axis=2))
    building.prove(proving, record, TARGET, 89)
    for which in ("against the emulation's", "worst drift"):
        assert sum(which in name for name in wrong(record)) == 2  # the function's and the plugin's


def test_a_fault_at_the_border_alone_is_found_though_psnr_y_leaves_the_border_out(proving, record, monkeypatch):
    call = EngineSession.__call__

    def framed(session, images):
        result = call(session, images).copy()
        result[:, 0] = 255 - result[:, 0]
        return result

    monkeypatch.setattr(EngineSession, "__call__", framed)
    building.prove(proving, record, TARGET, 89)
    assert any("largest step from the emulation, borders too" in name for name in wrong(record))


def test_engines_that_find_no_memory_are_lacking_it_and_not_wrong(proving, record, monkeypatch):
    def refuse(*_) -> Path:
        raise DefianError("x.engine: expected 900 MiB of free GPU memory, found 200 MiB of 2048 MiB.")

    monkeypatch.setattr(building, "build", refuse)
    with pytest.raises(CannotRun, match="900 MiB of free GPU memory"):
        building.prove(proving, record, TARGET, 89)


def test_engines_that_miss_a_package_say_which(proving, record, monkeypatch):
    def refuse(*_) -> Path:
        raise MissingPackageError("pycuda", "device", "Running an engine")

    monkeypatch.setattr(building, "build", refuse)
    with pytest.raises(MissingPackageError):
        building.prove(proving, record, TARGET, 89)


def test_graphs_that_the_compiler_refuses_are_noted_and_no_engine_at_all_is_a_failure(proving, record, monkeypatch):
    def refuse(_graph: Path, _folder: Path, _target: object, _sm: object, eigen: Eigen) -> Path:
        raise DefianError(f"no engine with {eigen.value}")

    monkeypatch.setattr(building, "build", refuse)
    building.prove(proving, record, TARGET, 89)
    assert wrong(record) == ["engines that run", "graphs refused"]
    assert any("no engine with plugin" in note for note in record.notes)
