"""An engine is built again by one process while others wait for it, with the real TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from defian_edge.runtime.building import rebuild
from defian_edge.runtime.building.build import BuildOptions, build_plan, capability_for
from defian_edge.runtime.building.function_only import without_plugin
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import EngineFacts, Manifest, command_for, read_manifest
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.temporary import alone
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = ShapeProfile.parse("1x8x8,1x16x16,1x32x32")
CHILD = """
import sys, time, warnings
from pathlib import Path
import tensorrt_rtx as trt
from defian_edge.runtime.building import rebuild
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import read_manifest

engine, seconds = Path(sys.argv[1]), float(sys.argv[2])
build = rebuild.build_plan

def slowly(*given):
    print("building", flush=True)
    time.sleep(seconds)
    return build(*given)

rebuild.build_plan = slowly
manifest = read_manifest(engine)
graph = rebuild.graph_beside(engine, manifest)
wanted = rebuild.wanted_engine(manifest, trt, "a GPU", (8, 6), None)
warnings.simplefilter("ignore")
print("ready", flush=True)
sys.stdin.readline()
print(rebuild.rebuilt(manifest, graph, wanted, trt, DefianError("It does not fit.")).name, flush=True)
"""


@pytest.fixture
def engine(tiny_graph, tmp_path) -> Path:
    """An engine of another version, that is none, and the graph that it was built of."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    (tmp_path / "tiny.fp32.onnx").write_bytes(tiny_graph)
    path = tmp_path / "tiny.fp32.tensorrt-rtx.engine"
    path.write_bytes(b"a plan of another version")
    facts = EngineFacts("tensorrt-rtx", "1.0.0", "8.9", 1, 1, 25, 1.0, 10, workspace_mib=64)
    Manifest(
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        model="tiny",
        scale=2,
        precision="fp32",
        io="uint8",
        checkpoint_sha256="0" * 64,
        command="python export.py --model tiny",
        parent_sha256=hashlib.sha256(tiny_graph).hexdigest(),
        profile=PROFILE,
        engine=facts,
    ).write(tmp_path)
    return path


def child(engine: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that is about to build the engine again, and takes so much longer for it."""
    started = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(engine), str(seconds)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert said(started) == "ready"
    return started


def said(process: subprocess.Popen[str]) -> str:
    """Its next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_of_two_processes_one_builds_and_the_other_waits_for_it(engine):
    processes = [child(engine, 2.0) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=300)[0].split() for process in processes]
    name = told[0][-1]
    assert sorted(told) == [["building", name], [name]], "one has built, both have the engine"
    manifest = read_manifest(engine.with_name(name))
    assert manifest.engine is not None
    assert (manifest.engine.compute_capability, manifest.engine.workspace_mib) == ("8.6", 64)
    assert name == f"tiny.fp32.tensorrt-rtx-{manifest.engine.version}-sm86.engine"
    assert [path.name for path in engine.parent.iterdir() if path.name.startswith(".")] == []


def test_one_that_is_killed_in_the_middle_holds_nobody_up_and_leaves_nothing(engine):
    with child(engine, 600.0) as first:
        assert first.stdin is not None
        first.stdin.write("\n")
        first.stdin.flush()
        assert said(first) == "building"
        first.send_signal(signal.SIGKILL)
    second = child(engine, 0.0)
    told = second.communicate("\n", timeout=300)[0].split()
    assert told[0] == "building"
    assert read_manifest(engine.with_name(told[1])).profile == PROFILE
    assert [path.name for path in engine.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workspace_mib": 0}, "Expected a workspace from 1 to"),
        ({"workspace_mib": 1 << 70}, "Expected a workspace from 1 to"),
        ({"optimisation_level": -1}, "Expected an optimisation level from 0 to 5"),
        ({"optimisation_level": 99}, "Expected an optimisation level from 0 to 5"),
    ],
)
def test_options_that_no_compiler_takes_are_refused(changes, words):
    with pytest.raises(DefianError, match=words):
        BuildOptions("tensorrt-rtx", PROFILE, uint8=True, sm=89, **changes)


def test_an_unknown_flavour_or_a_missing_module_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(DefianError, match="tensorrt_rtx"):
        build_plan(b"", BuildOptions("tensorrt-rtx", PROFILE, uint8=True, sm=89))


def test_a_lock_that_was_removed_while_it_was_waited_for_is_taken_anew(tmp_path, monkeypatch):
    """Its holder removes it at the end; whoever waited for the removed file would wait for nobody."""
    from defian_edge.runtime import temporary

    seen = []
    still = temporary._is_still

    def first_gone(path: Path, lock: int) -> bool:
        seen.append(path)
        if len(seen) == 1:
            path.unlink()
        return still(path, lock)

    monkeypatch.setattr(temporary, "_is_still", first_gone)
    with alone(tmp_path / "a.engine"):
        assert len(seen) == 2
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nobody_waits(tmp_path, monkeypatch):
    monkeypatch.setattr("defian_edge.runtime.temporary.fcntl", None)
    with alone(tmp_path / "a.engine"), alone(tmp_path / "a.engine"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_but_the_names_of_the_plugin_is_taken_out_of_a_graph(tiny_graph):
    """Held against onnx itself, where it is installed."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    expected, found = onnx.load_model_from_string(tiny_graph), without_plugin(tiny_graph)
    nodes = [node for node in expected.graph.node if (node.domain, node.op_type) == ("defian", "MaxHessianEigenvalue")]
    assert nodes
    for node in nodes:
        kept = [each for each in node.attribute if each.name not in ("plugin_namespace", "plugin_version")]
        assert len(kept) == len(node.attribute) - 2
        del node.attribute[:]
        node.attribute.extend(kept)
    assert onnx.load_model_from_string(found) == expected
    assert without_plugin(found) == found


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "not", "endless"])
def test_what_is_no_graph_is_left_for_the_compiler_to_refuse(tiny_graph, damage):
    made = {
        "cut": tiny_graph[: len(tiny_graph) // 2],
        "noise": bytes(range(256)) * 40,
        "empty": b"",
        "not": b"not a graph",
        "endless": b"\xff" * 100,
    }
    assert without_plugin(made[damage]) == made[damage]


@pytest.mark.parametrize(
    ("command", "flavour", "sm", "expected"),
    [
        ("e.py --sm 75 --out o", "tensorrt-rtx", "89", "e.py --sm 89 --out o"),
        ("e.py --sm=75 --out o", "tensorrt-rtx", "89", "e.py --sm=89 --out o"),
        ("e.py --out o", "tensorrt-rtx", "89", "e.py --out o --sm 89"),
        ("e.py --device rtx2060 --out o", "tensorrt-rtx", "89", "e.py --out o --target tensorrt-rtx --sm 89"),
        ("e.py --device=orin-nano --target tensorrt", "tensorrt", "", "e.py --target tensorrt"),
        ("e.py --target tensorrt", "tensorrt", "", "e.py --target tensorrt"),
    ],
)
def test_the_command_for_another_gpu_names_neither_the_old_capability_nor_the_old_device(
    command, flavour, sm, expected
):
    assert command_for(command, flavour, sm) == expected


def test_a_build_for_the_second_gpu_asks_the_second_for_its_capability(monkeypatch):
    capabilities = [(8, 9), (8, 6)]
    cuda = SimpleNamespace(
        init=lambda: None, Device=lambda each: SimpleNamespace(compute_capability=lambda: capabilities[each])
    )
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=cuda))
    monkeypatch.setitem(sys.modules, "pycuda.driver", cuda)
    options = BuildOptions("tensorrt", PROFILE, uint8=True, ordinal=1)
    assert capability_for(ModuleType("tensorrt"), options) == "8.6"
    assert capability_for(ModuleType("tensorrt"), BuildOptions("tensorrt", PROFILE, uint8=True)) == "8.9"


def test_a_rebuild_is_for_the_gpu_that_was_asked_for(monkeypatch, tmp_path, tiny_graph):
    graph = tmp_path / "tiny.fp32.onnx"
    graph.write_bytes(tiny_graph)
    digest = hashlib.sha256(tiny_graph).hexdigest()
    facts = EngineFacts("tensorrt", "10.3.0", "8.9", 1, 1, 1, 1.0, 1)
    manifest = Manifest(
        "tiny.engine", "0" * 64, "tiny", 2, "fp32", "uint8", "0" * 64, "e.py", parent_sha256=digest, engine=facts
    )
    manifest = replace(manifest, profile=PROFILE)
    wanted = rebuild.Wanted("10.4.0", "a GPU", (8, 6), PROFILE, None, ordinal=1)
    given = []

    def build(_: bytes, options: BuildOptions) -> None:
        given.append(options.ordinal)
        raise DefianError("enough")

    monkeypatch.setattr(rebuild, "build_plan", build)
    monkeypatch.setattr(rebuild, "provide", lambda *_: None)
    with pytest.warns(rebuild.RebuiltEngineWarning), pytest.raises(DefianError, match="enough"):
        rebuild.rebuilt(manifest, graph, wanted, ModuleType("tensorrt"), DefianError("It does not fit."))
    assert given == [1]
