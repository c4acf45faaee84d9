"""What the stages of graphs and engines do where a CPU can do it: export, build, bench, comparing pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.photos import EvaluationPair
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.lowering import Eigen
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.onnx_session import OnnxSession
from defian_edge.selftest import building, engines, pictures
from defian_edge.selftest.pictures import graphs_of
from defian_edge.selftest.protocol import CannotRun, Record, Settings
from defian_edge.selftest.stages import onnx_cuda
from tests.conftest import noise, random_checkpoint, tiny
from tests.doubles.graph_file import write_file


@pytest.fixture
def record(tmp_path) -> Record:
    return Record(tmp_path / "result.json")


@pytest.fixture
def graph(traced, tmp_path) -> Path:
    """A tiny FP32 graph with its manifest, named as a graph of the stages."""
    content = ir.to_proto(traced(random_checkpoint(tiny()))).SerializeToString()
    return write_file(tmp_path / "defian-s-x2.fp32.onnx", content)


def checks(record: Record) -> dict[str, bool]:
    return {check["name"]: check["passed"] for check in json.loads(record.path.read_text())["checks"]}


@pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="tensorrt-rtx is not installed")
def test_an_engine_is_built_with_its_graph_and_both_manifests_beside_it(graph, tmp_path):
    path = building.build(graph, tmp_path / "engines", Target.TENSORRT_RTX, 89, Eigen.FUNCTION)
    manifest = read_manifest(path)
    assert path.name == "defian-s-x2.fp32.function.tensorrt-rtx.engine"
    assert manifest.engine is not None
    assert manifest.engine.compute_capability == "8.9"
    assert manifest.parent_sha256 == read_manifest(path.with_name(graph.name)).sha256
    assert manifest.profile is not None
    assert all(manifest.profile.contains((1, *size)) for size in (*engines.SIZES, (57, 86)))


def test_bench_gives_latency_at_every_size_and_holds_the_drift_against_its_limit(tmp_path, record, monkeypatch):
    monkeypatch.setattr(engines, "SIZES", ((16, 16), (16, 24)))
    monkeypatch.setattr(engines, "SAMPLING", engines.Sampling(2, 0.0, 0.0))
    [row] = engines.bench(Settings(str(tmp_path)), record, [Path("defian-s-x2")], 2, "cpu")
    assert [each["shape"] for each in row["latencies"]] == ["1x16x16", "1x16x24"]
    assert all(each["median_ms"] > 0 for each in row["latencies"])
    assert row["drift"]["worst_drift_db"] == 0.0
    name = "defian-s-x2 (PyTorch)"
    assert checks(record) == {f"{name}, worst drift in dB": True, f"{name}, sizes timed": True}


def test_without_set5_the_bundled_photos_are_written_as_pairs(tmp_path):
    low, high = pictures.sources(Settings(str(tmp_path)), 2)
    assert sorted(path.name for path in low.iterdir()) == sorted(path.name for path in high.iterdir())
    pairs = pictures.pairs_of(Settings(str(tmp_path)), 2)
    assert all(np.array_equal(pair.hr.shape[:2], 2 * np.array(pair.lr.shape[:2])) for pair in pairs)


def test_graphs_that_were_exported_by_half_are_exported_again(tmp_path, monkeypatch):
    made = []

    def export(model, options):
        made.append(options.plain)
        options.out.mkdir(parents=True, exist_ok=True)
        write_file(options.out / f"{model}.{'plain.' if options.plain else ''}fp16.onnx", b"", precision="fp16")
        if made == [True, False]:
            raise DefianError("ended")

    monkeypatch.setattr(pictures, "run_export", export)
    settings = Settings(str(tmp_path))
    with pytest.raises(DefianError, match="ended"):
        graphs_of(settings, "defian-s-x2")
    names = [path.name for path in graphs_of(settings, "defian-s-x2", first="fp16")]
    assert names == ["defian-s-x2.plain.fp16.onnx", "defian-s-x2.fp16.onnx", "defian-s-x2.engine.fp16.onnx"]
    assert made == [True, False, True, False, False]
    assert read_manifest(tmp_path / "graphs/defian-s-x2" / names[2]).file == names[2]
    assert not list(tmp_path.glob("graphs/*/engine"))


def test_a_folder_of_graphs_that_lacks_a_model_is_told_and_not_written_into(tmp_path):
    with pytest.raises(CannotRun, match="holds no graph of defian-s-x4"):
        graphs_of(Settings(str(tmp_path), graphs=str(tmp_path)), "defian-s-x4")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def on_the_cpu(graph, tmp_path, monkeypatch) -> Settings:
    """The stage of ONNX Runtime's CUDA provider, with the CPU's in its place."""
    monkeypatch.setattr(onnx_cuda, "PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(onnx_cuda, "OnnxSession", lambda path, _: OnnxSession(path))
    monkeypatch.setattr(onnx_cuda, "MODELS", ("defian-s-x2",))
    monkeypatch.setattr(onnx_cuda, "graphs_of", lambda *_, **__: [graph])
    monkeypatch.setattr(onnx_cuda, "_alone", lambda *_: {})
    monkeypatch.setattr(onnx_cuda, "bench", lambda *_: [])
    lr = noise(9, 11, 3)
    with OnnxSession(graph) as session:
        pair = EvaluationPair("noise", lr, session(lr[None])[0])
    monkeypatch.setattr(engines, "pairs_of", lambda *_: [pair])
    monkeypatch.setattr(engines, "references", lambda *_: [Evaluation(pair.hr, finite=True)])
    return Settings(str(tmp_path))


def test_graphs_are_compared_with_the_emulation_by_the_provider_that_is_named(on_the_cpu, record):
    onnx_cuda.run(on_the_cpu, record)
    assert all(checks(record).values())
    found = record.figures["against_emulation"]["defian-s-x2.fp32.onnx"]
    assert (found["equal_share"], found["drift"]["worst_drift_db"]) == (1.0, 0.0)
    assert len(record.figures["network_alone"]) == len(onnx_cuda.SIZES_IN_TURN)


def test_a_graph_that_the_provider_refuses_is_a_failure(on_the_cpu, record, monkeypatch):
    def refuse(*_):
        raise DefianError("Expected all convolutions on CUDAExecutionProvider, found 3 on the CPU.")

    monkeypatch.setattr(onnx_cuda, "OnnxSession", refuse)
    onnx_cuda.run(on_the_cpu, record)
    assert checks(record) == {"graphs that run": False}


def test_a_provider_that_is_not_there_is_lacking(on_the_cpu, record, monkeypatch):
    def refuse(*_):
        raise DefianError("Expected CUDAExecutionProvider, but ONNX Runtime can only use CPUExecutionProvider here.")

    monkeypatch.setattr(onnx_cuda, "OnnxSession", refuse)
    with pytest.raises(CannotRun, match="can only use CPUExecutionProvider"):
        onnx_cuda.run(on_the_cpu, record)
