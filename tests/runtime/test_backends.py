"""Options of a backend go with its kind of file; one that does not apply is an error and never ignored."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from defian_edge.runtime.backends import EngineBackend, GraphBackend
from defian_edge.runtime.command import main
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.interface import Session
from defian_edge.runtime.manifest import EngineFacts
from defian_edge.runtime.onnx_session import OnnxSession
from defian_edge.runtime.session import open_session
from defian_edge.runtime.tiles import TiledSession
from defian_edge.runtime.tiling import Tiling
from tests.doubles.enlarger import Enlarger
from tests.doubles.graph_file import write_file

FACTS = EngineFacts("tensorrt", "10.13.0", "8.9", 1, 1, 1, 1.0, 1)


def file_of(folder, name: str, engine: EngineFacts | None = None):
    return write_file(folder / name, b"", engine=engine)


def test_the_options_of_an_engine_are_refused_for_a_graph(tmp_path):
    graph = file_of(tmp_path, "a.onnx")
    with pytest.raises(DefianError, match=r"a\.onnx: expected a GraphBackend for a graph.*cuda_graphs=False"):
        open_session(graph, backend=EngineBackend(cuda_graphs=False))


def test_the_options_of_a_graph_are_refused_for_an_engine(tmp_path):
    engine = file_of(tmp_path, "a.engine", FACTS)
    with pytest.raises(DefianError, match=r"a\.engine: expected an EngineBackend for an engine.*provider='cuda'"):
        open_session(engine, backend=GraphBackend(provider="cuda"))


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("a.onnx", ["--no-cuda-graphs"]),
        ("a.onnx", ["--check", "never"]),
        ("a.onnx", ["--rebuild"]),
        ("a.engine", ["--provider", "cuda"]),
    ],
)
def test_the_command_refuses_an_option_that_does_not_apply_to_the_file(tmp_path, capsys, name, option):
    file = file_of(tmp_path, name, FACTS if name.endswith(".engine") else None)
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SystemExit) as stopped:
        main([str(photo), "--engine", str(file), "--out", str(tmp_path / "sr"), *option])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert option[0] in said
    assert f"Leave {option[0]} out" in said


def test_options_are_keywords_and_do_not_change():
    with pytest.raises(TypeError):
        GraphBackend("cuda")  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        EngineBackend().shapes = 2  # type: ignore[misc]


@pytest.mark.parametrize(("option", "value", "said"), [("provider", "npu", "No provider 'npu'"), ("threads", -1, "-1")])
def test_a_graphs_options_are_checked_when_they_are_made(option, value, said):
    with pytest.raises(DefianError, match=said):
        GraphBackend(**{option: value})


def test_every_session_declares_what_callers_ask_for():
    for kind in (OnnxSession, EngineSession):
        assert (kind.tiling, kind.cut) == (None, 0)
        assert callable(kind.timings)
    tiled = TiledSession(Enlarger(), Tiling(8, 8, 2))
    assert isinstance(tiled, Session)
    assert (tiled.tiling, tiled.cut, tiled.timings()) == (Tiling(8, 8, 2), 0, {})
