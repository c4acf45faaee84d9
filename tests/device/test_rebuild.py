"""What preflight refuses is built again from the graph beside it, or refused word for word as without ``rebuild``."""

from __future__ import annotations

import contextlib
import hashlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.building.rebuild import RebuiltEngineWarning
from defian_edge.runtime.command import main
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import write_png
from defian_edge.runtime.manifest import manifest_path, read_manifest
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.session import open_session
from tests.device.engines import COMMAND, GRAPH, PROFILE, noise, write_engine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("trt")
HERE = "tiny.fp32.tensorrt-10.3.0-sm89.engine"
OTHER = {
    "version": ({"version": "10.16.1"}, None, HERE),
    "capability": ({"compute_capability": "8.7"}, None, HERE),
    "both": ({"version": "8.6.2", "compute_capability": "7.2"}, None, HERE),
    "profile": ({}, (1, 8, 100), "tiny.fp32.tensorrt-10.3.0-sm89-1x4x4-1x16x16-2x64x100.engine"),
    "both and profile": (
        {"version": "8.6.2"},
        (1, 8, 100),
        "tiny.fp32.tensorrt-10.3.0-sm89-1x4x4-1x16x16-2x64x100.engine",
    ),
}


def beside(folder: Path, graph: bytes | None = None, **changes: Any) -> Path:  # noqa: ANN401
    """An engine, and the graph that it was built of beside it."""
    content = GRAPH.read_bytes()
    engine = write_engine(folder, parent_sha256=hashlib.sha256(content).hexdigest(), **changes)
    (folder / "tiny.fp32.onnx").write_bytes(content if graph is None else graph)
    return engine


def refused(engine: Path, **options: object) -> str:
    """What ``open_session`` says."""
    with pytest.raises(DefianError) as raised:
        open_session(engine, **options)  # pyright: ignore[reportArgumentType]
    return str(raised.value)


@pytest.mark.parametrize("name", OTHER)
def test_an_engine_that_does_not_fit_is_built_again_once_and_the_old_one_left_alone(tmp_path, trt, reference, name):
    changes, shape, expected = OTHER[name]
    engine = beside(tmp_path, workspace_mib=256, optimisation_level=4, **changes)
    before = engine.read_bytes(), manifest_path(engine).read_bytes()
    refused(engine, shape=shape)
    image = noise(1, 8, 9, 3)
    with (
        pytest.warns(RebuiltEngineWarning, match=f"expected .*It is built again as {expected}"),
        open_session(engine, shape=shape, rebuild=True) as session,
    ):
        assert np.array_equal(session(image), reference(image))
    assert (engine.read_bytes(), manifest_path(engine).read_bytes()) == before
    assert {path.name for path in tmp_path.iterdir()} == {
        *(engine.name, manifest_path(engine).name, "tiny.fp32.onnx", expected, f"{expected}.json")
    }
    manifest = read_manifest(tmp_path / expected)
    assert manifest.engine is not None
    assert (manifest.engine.version, manifest.engine.compute_capability) == ("10.3.0", "8.9")
    assert (manifest.engine.workspace_mib, manifest.engine.optimisation_level) == (256, 4)
    profile = PROFILE if shape is None else ShapeProfile.parse("1x4x4,1x16x16,2x64x100")
    assert manifest.profile == profile
    assert (f"--profile {profile}" in manifest.command) or shape is None
    [told] = trt.builds
    assert (told["WORKSPACE"], told["builder_optimization_level"], told["cleared TF32"]) == (256 << 20, 4, True)
    assert told["profile"] == {
        "image": tuple((*each, 3) for each in (profile.minimum, profile.optimum, profile.maximum))
    }
    open_session(engine, shape=shape, rebuild=True).close()
    assert len(trt.builds) == 1, "the second time it is found"


def test_an_engine_that_fits_is_opened_as_it_is(tmp_path, trt):
    open_session(beside(tmp_path), shape=(1, 8, 8), rebuild=True).close()
    assert trt.builds == []


def test_the_engine_that_was_built_again_may_be_named_and_is_built_again_in_its_turn(tmp_path, trt):
    engine = beside(tmp_path, version="10.16.1")
    with pytest.warns(RebuiltEngineWarning):
        open_session(engine, rebuild=True).close()
    trt.__version__ = "10.4.0"
    with pytest.warns(RebuiltEngineWarning, match="expected tensorrt 10.3.0"):
        open_session(tmp_path / HERE, rebuild=True).close()
    assert (tmp_path / "tiny.fp32.tensorrt-10.4.0-sm89.engine").is_file()
    assert (tmp_path / HERE).is_file()


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("lacks", ["graph", "this graph", "parent", "builder", "parser"])
def test_without_graph_or_builder_the_refusal_stands_word_for_word(tmp_path, trt, name, lacks, monkeypatch):
    changes, shape, _ = OTHER[name]
    engine = beside(tmp_path, b"another" if lacks == "this graph" else None, **changes)
    if lacks == "graph":
        (tmp_path / "tiny.fp32.onnx").unlink()
    if lacks == "parent":
        write_engine(tmp_path, **changes)
    trt.faults.refused_builder = lacks == "builder"
    if lacks == "parser":
        monkeypatch.delattr(type(trt), "OnnxParser")
        del trt.OnnxParser
    before = sorted(path.name for path in tmp_path.iterdir())
    assert refused(engine, shape=shape, rebuild=True) == refused(engine, shape=shape)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "changes",
    [{"io": "float"}, {"sha256": "0" * 64}, {"flavour": "onnx"}, {"profile": None}, {"activation_bytes": 1 << 40}],
)
def test_what_a_build_would_not_mend_is_refused_as_ever(tmp_path, trt, changes):
    engine = beside(tmp_path, **changes)
    assert refused(engine, rebuild=True) == refused(engine)
    assert trt.builds == []


def test_a_gpu_that_cannot_be_opened_is_refused_as_ever(tmp_path, trt):
    engine = beside(tmp_path, version="10.16.1")
    third = EngineBackend(device=3)
    assert refused(engine, rebuild=True, backend=third) == refused(engine, backend=third)
    assert "10.16.1" in refused(engine, rebuild=True, backend=third)
    assert trt.builds == []


def test_what_the_compiler_says_of_a_build_that_fails_is_shown_and_nothing_is_left(tmp_path, trt):
    engine = beside(tmp_path, version="10.16.1")
    trt.faults.refused_build = True
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.warns(RebuiltEngineWarning):
        assert "built no engine: Could not find any implementation" in refused(engine, rebuild=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("damage", ["plan", "manifest", "no manifest", "one byte"])
def test_half_of_an_engine_that_a_killed_run_left_is_built_anew(tmp_path, trt, damage):
    engine = beside(tmp_path, version="10.16.1")
    with pytest.warns(RebuiltEngineWarning):
        open_session(engine, rebuild=True).close()
    found = tmp_path / HERE
    if damage == "plan":
        found.write_bytes(found.read_bytes()[:100])
    elif damage == "no manifest":
        manifest_path(found).unlink()
    else:
        manifest_path(found).write_bytes(b"{" if damage == "one byte" else b"{}")
    with pytest.warns(RebuiltEngineWarning):
        open_session(engine, rebuild=True).close()
    assert len(trt.builds) == 2


def test_a_damaged_engine_of_another_graph_is_not_taken_for_it(tmp_path, trt):
    engine = beside(tmp_path, version="10.16.1")
    with pytest.warns(RebuiltEngineWarning):
        open_session(engine, rebuild=True).close()
    place = manifest_path(tmp_path / HERE)
    content = json.loads(place.read_text())
    place.write_text(json.dumps(content | {"parent_sha256": "0" * 64}))
    with pytest.warns(RebuiltEngineWarning):
        open_session(engine, rebuild=True).close()
    assert len(trt.builds) == 2


@pytest.mark.parametrize(("capability", "told", "name"), [("7.5", 89, "sm89"), ("any", None, "any")])
def test_tensorrt_rtx_builds_for_this_gpu_or_for_any_as_before(tmp_path, trt, capability, told, name):
    changes = {"flavour": "tensorrt-rtx", "version": "1.1.0", "compute_capability": capability}
    engine = beside(tmp_path, **changes)
    with pytest.warns(RebuiltEngineWarning):
        open_session(engine, rebuild=True).close()
    found = read_manifest(tmp_path / f"tiny.fp32.tensorrt-rtx-10.3.0-{name}.engine")
    assert found.engine is not None
    assert found.engine.compute_capability == ("any" if name == "any" else "8.9")
    assert trt.builds[0].get("capability 0") == told
    assert found.command == (COMMAND if told is None else COMMAND.replace("--sm 75", f"--sm {told}"))


def test_a_gpu_that_tensorrt_rtx_does_not_take_is_refused_as_ever(tmp_path, trt, driver):
    driver.set_capability(9, 0)
    engine = beside(tmp_path, flavour="tensorrt-rtx", compute_capability="8.9")
    assert refused(engine, rebuild=True) == refused(engine)
    assert trt.builds == []


def test_a_graph_is_no_engine_that_could_be_built_again(tmp_path):
    beside(tmp_path)
    manifest = json.loads((tmp_path / "tiny.fp32.engine.json").read_text())
    graph = tmp_path / "tiny.fp32.onnx"
    known = {"file": graph.name, "engine": None, "sha256": hashlib.sha256(graph.read_bytes()).hexdigest()}
    manifest_path(graph).write_text(json.dumps(manifest | known))
    assert "expected an engine" in refused(graph, rebuild=True)


def test_a_shape_that_no_engine_takes_is_refused_as_ever(tmp_path, trt):
    engine = beside(tmp_path)
    for shape in ((1, 1, 1), (0, 8, 8), (1, -3, 8)):
        assert refused(engine, shape=shape, rebuild=True) == refused(engine, shape=shape)
        assert "expected images inside the profile" in refused(engine, shape=shape)
    assert trt.builds == []


def test_a_tensorrt_that_knows_no_strong_types_builds_nothing(tmp_path, trt):
    trt.__version__ = "8.6.2"
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(EXPLICIT_BATCH=0)
    engine = beside(tmp_path)
    assert refused(engine, rebuild=True) == refused(engine)
    assert trt.builds == []


def test_the_command_line_builds_again_and_goes_on(tmp_path, capsys, trt):
    engine, photo = beside(tmp_path / "engines", version="10.16.1"), tmp_path / "photo.png"
    write_png(photo, noise(8, 9, 3))
    words = [str(photo), "--engine", str(engine), "--out", str(tmp_path / "sr")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    with pytest.warns(RebuiltEngineWarning), pytest.raises(SystemExit) as ended:
        main([*words, "--rebuild"])
    assert ended.value.code == 0, capsys.readouterr().err
    assert (tmp_path / "sr" / "photo.png").is_file()
    assert (engine.parent / HERE).is_file()
    assert len(trt.builds) == 1


@pytest.mark.parametrize(
    ("size", "options", "profile"),
    [
        ((3, 9), [], "1x3x4,1x16x16,2x64x64"),
        ((70, 66), ["--tile", "off"], "1x4x4,1x16x16,2x70x66"),
        ((90, 90), ["--tile", "80x72"], "1x4x4,1x16x16,2x80x72"),
        ((90, 90), [], None),
        ((8, 9), ["--tile", "off"], None),
        ((90, 90), ["--tile", "32x32"], None),
    ],
)
def test_the_command_line_builds_again_for_the_first_picture_or_its_tiles(tmp_path, trt, size, options, profile):
    engine, photo = beside(tmp_path / "engines"), tmp_path / "photo.png"
    write_png(photo, noise(*size, 3))
    words = [str(photo), "--engine", str(engine), "--out", str(tmp_path / "sr"), *options]
    if profile is not None:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2, "without --rebuild it is refused"
    warned = contextlib.nullcontext() if profile is None else pytest.warns(RebuiltEngineWarning)
    with warned, pytest.raises(SystemExit) as ended:
        main([*words, "--rebuild"])
    assert ended.value.code == 0
    assert (tmp_path / "sr" / "photo.png").is_file()
    built = [] if profile is None else [f"tiny.fp32.tensorrt-10.3.0-sm89-{profile.replace(',', '-')}.engine"]
    assert sorted(path.name for path in engine.parent.glob("tiny.fp32.tensorrt*.engine")) == built
    assert len(trt.builds) == len(built)


def test_the_command_that_rebuilds_is_kept(tmp_path):
    engine = beside(tmp_path, version="10.16.1")
    with pytest.warns(RebuiltEngineWarning):
        open_session(engine, rebuild=True).close()
    assert read_manifest(tmp_path / HERE).command == COMMAND


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    engine = beside(tmp_path, version="10.16.1")

    def read_only(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("defian_edge.runtime.temporary.os.open", read_only)
    with pytest.raises(DefianError, match=r"Cannot write .*sm89.engine: Permission"):
        open_session(engine, rebuild=True)
