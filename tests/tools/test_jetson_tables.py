"""The tables of docs/jetson.md: what the DLA takes of a graph, and the memory that an engine asks for."""

from __future__ import annotations

import re

import onnx_ir as ir
import pytest

from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.rewrites.base import Use
from defian_edge.runtime.engine.preflight import needed_bytes
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import REPOSITORY, random_checkpoint, tiny
from tools.jetson import dla, memory

rtx = pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="tensorrt-rtx is not installed")
PAGE = (REPOSITORY / "docs" / "jetson.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A tiny network in FP16, as it is compiled."""
    options = ExportOptions(
        out=tmp_path_factory.mktemp("jetson"),
        precisions=(Precision.FP16,),
        graph_for=Use.ENGINE,
        reference_size=0,
        rewrite_memory=False,
    )
    run_export(random_checkpoint(tiny()), options)
    [path] = options.out.glob("*.onnx")
    return path


def test_no_operator_stands_twice_in_nvidias_table():
    names = [name for listed in dla.ANSWERS.values() for name in listed]
    assert len(set(names)) == len(names) == 78


def test_the_averages_of_attention_are_refused_and_convolutions_are_taken(graph):
    found = dla.operators(ir.load(graph), ShapeProfile.parse("1x48x64"))
    assert found["Conv"] > 0
    assert dla.answer("Conv") == "taken"
    assert {dla.answer(name) for name in found if name.startswith("Reduce")} <= {"refused", dla.UNLISTED}
    lines = dla.table(graph, "1x48x64").splitlines()
    assert f"| Conv | {found['Conv']} | taken |" in lines
    assert lines[-1].endswith(f" of {found.total()} nodes are taken.")
    answers = [line.split(" | ")[2].removesuffix(" |") for line in lines[2:-2]]
    assert answers == sorted(answers, key=lambda words: (words == "taken", words)), "what is not taken comes first"


def test_what_is_no_graph_is_one_error(tmp_path, capsys):
    (tmp_path / "net.onnx").write_bytes(b"no graph")
    with pytest.raises(SystemExit) as ended:
        dla.main([str(tmp_path / "net.onnx")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'net.onnx'} cannot be read: ")


@rtx
def test_memory_is_what_a_session_asks_for_before_it_loads_the_engine(graph, capsys):
    memory.main([str(graph), "--size", "48x64", "--size", "96x128"])
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header in PAGE
    figures = [[float(each) for each in re.findall(r" ([\d.]+) (?=\|)", row)] for row in rows]
    for activations, weights, frames, together in figures:
        assert together == pytest.approx(activations + weights + frames, abs=0.16)
    assert figures[1][0] > figures[0][0]
    assert needed_bytes(memory.planned(graph, "48x64")) / 1e6 == pytest.approx(figures[0][-1], abs=0.05)


@rtx
def test_a_size_of_another_form_is_one_error(graph, capsys):
    with pytest.raises(SystemExit) as ended:
        memory.main([str(graph), "--size", "small"])
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err
