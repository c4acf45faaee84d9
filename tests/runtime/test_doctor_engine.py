"""Whether an engine runs here, or on a named device; why not, and what rebuilds it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import defian_edge as de
from defian_edge.runtime.doctor import run
from defian_edge.runtime.doctor.cures import command_first
from defian_edge.runtime.doctor.device import check_engine_on, device_line
from defian_edge.runtime.doctor.engine import check_engine
from defian_edge.runtime.doctor.facts import Package
from defian_edge.runtime.doctor.findings import Level
from defian_edge.runtime.hardware.table import device_named
from defian_edge.runtime.manifest import EngineFacts
from defian_edge.runtime.profile import ShapeProfile
from tests.doubles.doctor_cures import is_a_command
from tests.doubles.doctor_facts import BARE, DESKTOP, JETSON, packages
from tests.doubles.graph_file import write_file

if TYPE_CHECKING:
    from pathlib import Path


FACTS = EngineFacts("tensorrt", "11.5.0", "8.9", 200 << 20, 2 << 20, 3 << 20, 1.0, 10)
COMMAND = "python export.py --model x2 --target tensorrt-rtx --sm 89"


def write_engine(folder: Path, **changes) -> Path:
    facts = {name: changes.pop(name) for name in list(changes) if name in EngineFacts.__dataclass_fields__}
    said = {"model": "x2", "precision": "fp16", "command": COMMAND, "engine": replace(FACTS, **facts)}
    said |= {"profile": ShapeProfile.parse("1x64x64,1x360x640,1x540x960")}
    return write_file(folder / "x2.fp16.engine", b"plan", **said | changes)


def without(*names: str):
    return replace(DESKTOP, packages={name: each for name, each in DESKTOP.packages.items() if name not in names})


def test_an_engine_that_fits_is_green_and_named(tmp_path):
    line = check_engine(write_engine(tmp_path), DESKTOP)
    assert line.findings == ()
    assert line.text == "x2.fp16.engine: tensorrt 11.5.0 engine of x2, fp16"


@pytest.mark.parametrize(
    ("changes", "facts", "text", "cure"),
    [
        ({"version": "10.3.0"}, DESKTOP, "expected tensorrt 10.3.0, which built it, found 11.5.0", COMMAND),
        (
            {"compute_capability": "8.6"},
            DESKTOP,
            "capability 8.6, found NVIDIA GeForce RTX 4090 with 8.9",
            "on this GPU",
        ),
        (
            {"activation_bytes": 1 << 40},
            DESKTOP,
            "MiB of free GPU memory, found 22528 MiB",
            "--profile SMALLER (for a smaller profile",
        ),
        ({}, without("tensorrt"), "needs tensorrt, which is not installed", r"pip install 'defian-edge[gpu]'"),
        ({}, without("pycuda"), "needs pycuda", "pip install 'defian-edge[device]'"),
        ({"plugins": ("defian::X/1",)}, without("cuda-bindings"), "needs cuda-bindings", "[device]"),
        ({"flavour": "onnx"}, DESKTOP, "found one whose manifest names 'onnx'", COMMAND),
        ({"profile": None}, DESKTOP, "found one without profile", COMMAND),
        ({"sha256": "0" * 64}, DESKTOP, "is not the file its manifest describes", COMMAND),
        ({}, BARE, "expected an NVIDIA GPU, found none", "python -m runtime PHOTO --engine GRAPH.onnx --out sr/"),
        ({}, replace(JETSON, packages=packages(pycuda="2026.1")), "needs tensorrt", "apt install tensorrt"),
        (
            {"flavour": "tensorrt-rtx", "version": "1.7.1", "compute_capability": "7.5"},
            DESKTOP,
            "capability 7.5",
            "python export.py --model x2 --target tensorrt-rtx --sm 89 (rebuild it for this GPU)",
        ),
    ],
)
def test_an_engine_that_does_not_run_here_is_red_with_why_and_what_rebuilds_it(tmp_path, changes, facts, text, cure):
    found = [
        finding for finding in check_engine(write_engine(tmp_path, **changes), facts).findings if text in finding.text
    ]
    assert len(found) == 1
    assert found[0].level == Level.RED
    assert cure in found[0].cure
    assert is_a_command(found[0].cure)


def with_graph(folder: Path, **changes) -> tuple[Path, Path]:
    """An engine with the graph that it was built from beside it."""
    graph = folder / "x 2.onnx"
    graph.write_bytes(b"graph")
    return write_engine(folder, parent_sha256=hashlib.sha256(b"graph").hexdigest(), **changes), graph


@pytest.mark.parametrize(
    ("changes", "facts", "rebuilds"),
    [
        ({"version": "10.3.0"}, DESKTOP, True),
        ({"compute_capability": "8.6"}, DESKTOP, True),
        ({"version": "10.3.0", "compute_capability": "8.6"}, DESKTOP, True),
        ({"flavour": "tensorrt-rtx", "version": "1.1.0"}, DESKTOP, True),
        ({"version": "10.3.0"}, without("pycuda"), False),
        ({"version": "10.3.0"}, BARE, False),
        ({"version": "10.3.0", "activation_bytes": 1 << 40}, DESKTOP, False),
        (
            {"version": "10.3.0"},
            replace(DESKTOP, packages=DESKTOP.packages | packages(tensorrt="8.6.2")),
            False,
        ),
        (
            {"flavour": "tensorrt-rtx", "version": "1.1.0"},
            replace(DESKTOP, gpus=(replace(DESKTOP.gpus[0], capability=(9, 0)),)),
            False,
        ),
    ],
)
def test_rebuild_is_named_where_it_would_do(tmp_path, changes, facts, rebuilds):
    engine, _ = with_graph(tmp_path, **changes)
    again = f"python -m runtime PHOTO --engine {engine} --rebuild --out sr/"
    findings = check_engine(engine, facts).findings
    assert all(finding.cure.startswith(again) is rebuilds for finding in findings)
    assert findings
    (tmp_path / "x 2.onnx").write_bytes(b"another graph")
    assert not any("--rebuild" in finding.cure for finding in check_engine(engine, facts).findings)


def test_without_a_gpu_the_graph_beside_the_engine_is_named(tmp_path):
    engine, graph = with_graph(tmp_path)
    [*_, none] = check_engine(engine, BARE).findings
    assert none.cure.startswith(f"python -m runtime PHOTO --engine '{graph}' --out sr/")


@pytest.mark.parametrize(
    ("hint", "cure"),
    [
        ("", "make"),
        ("Copy both.", "make (copy both)"),
        ("pip install x", "pip install x"),
        ("rm -r kernels (they are made anew)", "rm -r kernels (they are made anew)"),
        ("Install it with: pip install 'x[y]'", "pip install 'x[y]' (install it with)"),
        ("Copy both, or: anew: python3 e.py --a 1:2.", "python3 e.py --a 1:2 (copy both, or: anew)"),
    ],
)
def test_the_command_of_a_hint_comes_first(hint, cure):
    assert command_first(hint, "make") == cure


def test_several_reasons_are_told_at_once(tmp_path):
    engine = write_engine(tmp_path, version="10.3.0", compute_capability="8.6", activation_bytes=1 << 40)
    assert len(check_engine(engine, DESKTOP).findings) == 3


def test_a_file_that_is_none_or_has_no_manifest_is_red(tmp_path):
    [none] = check_engine(tmp_path / "none.engine", DESKTOP).findings
    assert "No file at" in none.text
    assert is_a_command(none.cure)
    (tmp_path / "a.engine").write_bytes(b"plan")
    [bare] = check_engine(tmp_path / "a.engine", DESKTOP).findings
    assert "has no manifest" in bare.text
    assert is_a_command(bare.cure)


def test_an_engine_that_does_not_fit_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "gather", lambda: DESKTOP)
    asked = []
    monkeypatch.setattr(run, "run_steps", lambda *given: asked.append(given[1]) or [])
    assert run.doctor(write_engine(tmp_path, version="10.3.0")).level == Level.RED
    assert run.doctor(write_engine(tmp_path)).level == Level.GREEN
    assert asked == [[], [str(tmp_path / "x2.fp16.engine")]]


def write_graph(folder: Path) -> Path:
    """The smoke test's own graph, with a manifest that promises a scale that it does not have."""
    from defian_edge.runtime.doctor.smoke_graph import smoke_graph

    return write_file(folder / "x2.fp32.onnx", smoke_graph(), model="x2", command=COMMAND)


def test_a_graph_needs_onnx_runtime_alone(tmp_path):
    graph = write_graph(tmp_path)
    assert check_engine(graph, BARE).findings == ()
    [lacking] = check_engine(graph, replace(BARE, packages=packages(numpy="2"))).findings
    assert lacking.cure == "pip install 'defian-edge[cpu]'"


def test_what_is_named_is_run_and_its_failure_is_a_red_line(tmp_path):
    """The manifest fits the graph, and the graph does not do what it says: only running it shows that."""
    found = de.doctor(write_graph(tmp_path))
    [failed] = [finding for finding in found.findings if finding.rule == "smoke-failed"]
    assert "scale 2" in failed.text
    assert found.level == Level.RED


@pytest.mark.parametrize(
    ("name", "packages", "level", "words"),
    [
        ("orin-nano-super", {}, Level.GREEN, "8 GiB shared with the CPU, 102 GB/s, 7W, 15W, 25W, MAXN_SUPER; TensorRT"),
        ("orin-nano-super", {"tensorrt-rtx": "1.7.1"}, Level.YELLOW, "makes no engine that it could run"),
        ("rtx4070", {}, Level.YELLOW, "TensorRT-RTX, which builds engines for it on any machine, is not installed"),
        ("rtx4070", {"tensorrt-rtx": "1.7.1"}, Level.GREEN, "8.9, 12 GiB, 504 GB/s, 200 W; TensorRT-RTX builds"),
        ("h100", {}, Level.GREEN, "700 W; TensorRT on the device itself"),
        ("xavier-nx", {}, Level.RED, "Engines need TensorRT 10.3; its last JetPack, 5.1, has 8.5.2."),
    ],
)
def test_a_device_is_told_with_what_here_does_not_serve_it(name, packages, level, words):
    there = {key: Package(key, version) for key, version in packages.items()}
    line = device_line(device_named(name), replace(BARE, packages=there))
    assert line.level == level
    assert words in "\n".join([line.text, *(finding.text for finding in line.findings)])
    assert all(finding.cure for finding in line.findings)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("orin-nano-super", {"version": "10.3.0", "compute_capability": "8.7"}, ""),
        ("orin-nano-super", {"version": "10.16.1", "compute_capability": "8.7"}, "expected tensorrt 10.16.1"),
        ("agx-orin", {"version": "8.6.2.1", "compute_capability": "8.7"}, ""),
        ("thor", {"version": "10.13.3.9", "compute_capability": "11.0"}, ""),
        ("thor", {"version": "10.1.0", "compute_capability": "11.0"}, "expected tensorrt 10.1.0"),
        ("orin-nano-super", {"version": "10.3.0", "compute_capability": "8.9"}, "found orin-nano-super with 8.7"),
        (
            "orin-nano-4",
            {"version": "10.3.0", "compute_capability": "8.7", "activation_bytes": 3 << 30},
            "of free GPU memory, found 2560 MiB of 4096 MiB",
        ),
        ("rtx4090", {"flavour": "tensorrt-rtx", "version": "1.7.1", "compute_capability": "8.9"}, ""),
        ("h100", {"flavour": "tensorrt-rtx", "compute_capability": "any"}, "loads no engine on compute capability 9.0"),
    ],
)
def test_an_engine_is_judged_for_the_device_that_is_named(tmp_path, name, changes, words):
    line = check_engine_on(write_engine(tmp_path, **changes), device_named(name))
    assert f", on {name}" in line.text
    assert [finding.text for finding in line.findings if words not in finding.text] == []
    assert bool(line.findings) == bool(words)


def test_a_file_that_is_no_engine_is_red_on_any_device(tmp_path):
    assert check_engine_on(tmp_path / "none.engine", device_named("l4")).level == Level.RED
    (tmp_path / "a.engine").write_bytes(b"plan")
    assert check_engine_on(tmp_path / "a.engine", device_named("l4")).level == Level.RED


def test_the_doctor_judges_an_engine_for_the_named_device_and_does_not_run_it(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "gather", lambda: DESKTOP)
    asked = []
    monkeypatch.setattr(run, "run_steps", lambda *given: asked.append(given[1]) or [])
    found = run.doctor(write_engine(tmp_path), device="orin-nano-8")
    assert asked == [[]]
    assert any(line.text.startswith("orin-nano: ") for line in found.lines)
    assert "found orin-nano with 8.7" in str(found)
