from __future__ import annotations

import json
import re
import sys
import warnings
from dataclasses import asdict
from itertools import count
from pathlib import Path
from subprocess import run
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.runtime.backends import GraphBackend
from defian_edge.runtime.command import main
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import write_whole
from defian_edge.runtime.images import downscale, images_in, read_image
from defian_edge.runtime.manifest import EngineFacts, manifest_path, read_manifest
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.session import open_session
from defian_edge.runtime.timing import take_turns
from tests.conftest import REPOSITORY, noise
from tests.doubles.graph_file import write_file


@pytest.fixture
def graph(tiny_graph, tmp_path):
    """A tiny graph on disk with its manifest."""
    return write_file(tmp_path / "tiny.fp32.onnx", tiny_graph)


def test_a_session_gives_the_graphs_own_pixels(graph):
    images = noise(2, 9, 11, 3)
    with open_session(graph) as session:
        upscaled = session(images)
    assert np.array_equal(upscaled, np.asarray(session_of(ir.load(graph)).run(None, {"image": images})[0]))
    assert "CPUExecutionProvider" in session.describe()


@pytest.mark.parametrize("images", [noise(1, 1, 1, 3), noise(4, 4, 3), noise(1, 4, 4, 3).astype(np.float32)])
def test_images_the_network_cannot_take_are_refused(graph, images):
    with open_session(graph) as session, pytest.raises(DefianError, match="Expected"):
        session(images)


def test_a_path_may_be_text_and_a_closed_session_says_so(graph):
    with open_session(str(graph)) as session:
        assert session.profile is None
        assert session.manifest.scale == 2
    session.close()
    with pytest.raises(DefianError, match="closed"):
        session(noise(1, 8, 8, 3))


def test_a_failure_of_onnx_runtime_names_the_shape_and_the_way_out(graph, monkeypatch):
    with open_session(graph) as session:
        inputs = session._session.get_inputs()  # pyright: ignore[reportAttributeAccessIssue]

        def run(*_: object) -> None:
            raise RuntimeError("std::bad_alloc\nat some line")

        monkeypatch.setattr(session, "_session", SimpleNamespace(get_inputs=lambda: inputs, run=run))
        with pytest.raises(DefianError, match=r"upscaling 1x8x9: std::bad_alloc\n.*--tile 192x192"):
            session(noise(1, 8, 9, 3))


def test_a_provider_that_is_not_here_is_refused_in_one_message(graph):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the CUDA provider")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DefianError, match=r"Expected CUDAExecutionProvider, but ONNX Runtime can only use CPU"):
            open_session(graph, backend=GraphBackend(provider="cuda"))


def test_a_provider_that_fails_in_a_run_is_an_error_and_not_done_again_on_the_cpu(graph, monkeypatch):
    """ONNX Runtime's Python layer does so for an EPFail of any provider but the CPU's, unless it is told not to."""
    from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

    with open_session(graph) as session:
        real = session._session  # pyright: ignore[reportAttributeAccessIssue]

        class Failing:
            def __getattr__(self, name: str) -> object:
                return getattr(inner, name)

            def run(self, *_: object) -> None:
                raise EPFail("CUDA failure 700")

        inner = real._sess
        monkeypatch.setattr(real, "_sess", Failing())
        monkeypatch.setattr(session, "provider", "CUDAExecutionProvider")
        with pytest.raises(DefianError, match="failed at upscaling 1x8x9: CUDA failure 700"):
            session(noise(1, 8, 9, 3))


@pytest.mark.parametrize(
    ("left", "outcome"),
    [
        ({}, "ONNX Runtime CUDAExecutionProvider$"),
        (
            {"shape_1": "Shape", "gather_1": "Gather"},
            "CUDAExecutionProvider, 2 nodes without convolution left to the CPU",
        ),
        (
            {"shape_1": "Shape", "conv_7": "Conv"},
            "all convolutions on CUDAExecutionProvider, found 1 .* such as conv_7",
        ),
        (None, "unknown before ONNX Runtime 1.24"),
    ],
)
def test_a_provider_that_leaves_the_work_to_the_cpu_is_an_error_too(graph, monkeypatch, left, outcome):
    """ONNX Runtime gives the CPU whatever a provider does not take, and ``get_providers`` does not tell."""
    import onnxruntime

    inside = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    class OnTheGpu:
        """As onnxruntime-gpu answers on a machine with a GPU."""

        def __init__(self, _: str, options: onnxruntime.SessionOptions, providers: list[str]) -> None:
            assert options.get_session_config_entry("session.record_ep_graph_assignment_info") == "1"
            self.providers = [*providers, "CPUExecutionProvider"]
            self.get_inputs, self.get_outputs, self.run = inside.get_inputs, inside.get_outputs, inside.run
            self.disable_fallback = lambda: None
            if left is not None:
                nodes = [SimpleNamespace(name=name, op_type=kind) for name, kind in left.items()]
                rest = SimpleNamespace(ep_name="CPUExecutionProvider", get_nodes=lambda: nodes)
                most = SimpleNamespace(ep_name=providers[0], get_nodes=lambda: [SimpleNamespace(op_type="Conv")])
                self.get_provider_graph_assignment_info = lambda: [most, rest]

        def get_providers(self) -> list[str]:
            return self.providers

    monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheGpu)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    if "found 1" in outcome:
        with pytest.raises(DefianError, match=outcome):
            open_session(graph, backend=GraphBackend(provider="cuda"))
    else:
        assert re.search(outcome, open_session(graph, backend=GraphBackend(provider="cuda")).describe())


def test_onnx_runtime_tells_where_nodes_run(graph):
    """The double above answers as the real one does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    if not hasattr(session, "get_provider_graph_assignment_info"):
        pytest.skip("this ONNX Runtime does not tell where nodes run")
    places = session.get_provider_graph_assignment_info()
    assert {each.ep_name for each in places} == {"CPUExecutionProvider"}
    assert "Conv" in {node.op_type for each in places for node in each.get_nodes()}


def test_a_provider_that_cannot_run_is_an_error_and_no_silent_fallback(graph):
    with pytest.raises(DefianError, match=r"CUDA|cannot load"):
        open_session(graph, backend=GraphBackend(provider="cuda"))


def test_a_file_that_is_not_what_its_manifest_says_names_the_command_that_rebuilds_it(graph):
    graph.write_bytes(graph.read_bytes() + b"x")
    with pytest.raises(DefianError, match=r"expected SHA-256[\s\S]*python export.py --model tiny"):
        open_session(graph)


@pytest.mark.parametrize(
    ("built_by", "words"),
    [
        ("defian-edge 3.1.0", r"found 2 made by defian-edge 3\.1\.0; this is .*pip install 'defian-edge>=3\.1\.0'"),
        ("", r"found 2; this is defian-edge .*pip install --upgrade defian-edge\."),
        (["defian-edge 3.1.0"], r"found 2; this is defian-edge .*pip install --upgrade defian-edge\."),
        ("defian-edge 3.1.0'; rm -rf ~", r"found 2; this is defian-edge .*pip install --upgrade defian-edge\."),
    ],
)
def test_a_manifest_of_a_newer_schema_says_what_made_it_and_what_to_install(graph, built_by, words):
    path = manifest_path(graph)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2, "built_by": built_by}))
    with pytest.raises(DefianError, match=f"(?s){words}"):
        read_manifest(graph)


def test_a_manifest_that_does_not_say_who_made_it_is_read_and_one_of_an_older_schema_is_built_again(graph):
    path = manifest_path(graph)
    content = json.loads(path.read_text())
    del content["built_by"]
    path.write_text(json.dumps(content))
    assert read_manifest(graph).built_by == ""
    path.write_text(json.dumps(content | {"schema": 0}))
    with pytest.raises(DefianError, match=r"schema 1, found 0\.\s+Rebuild it with export\.py"):
        read_manifest(graph)


def test_a_missing_or_foreign_manifest_is_refused(graph):
    manifest = manifest_path(graph)
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"schema": 99}))
    with pytest.raises(DefianError, match="schema 1, found 99"):
        read_manifest(graph)
    manifest.write_text("[]")
    with pytest.raises(DefianError, match="no manifest of this project"):
        read_manifest(graph)
    manifest.unlink()
    with pytest.raises(DefianError, match="has no manifest"):
        read_manifest(graph)


@pytest.mark.parametrize(
    ("place", "name", "value", "message"),
    [
        ("", "scale", "2", "expected scale as int, found '2'"),
        ("", "sha256", None, "expected sha256 as str, found None"),
        ("engine", "version", 10.3, "expected version as str, found 10.3"),
        ("engine", "activation_bytes", "much", "expected activation_bytes as int or NoneType, found 'much'"),
        ("engine", "no_such_fact", 1, "no manifest of this project"),
    ],
)
def test_a_manifest_with_values_of_another_type_is_refused(graph, place, name, value, message):
    content = json.loads(manifest_path(graph).read_text())
    facts = EngineFacts("tensorrt", "10.3.0", "8.7", 1, None, 1, 1.0, 1)
    content |= {"engine": asdict(facts), "profile": "1x64x64"}
    manifest_path(graph).write_text(json.dumps(content))
    assert read_manifest(graph).engine == facts
    (content[place] if place else content)[name] = value
    manifest_path(graph).write_text(json.dumps(content))
    with pytest.raises(DefianError, match=message):
        read_manifest(graph)


def test_photos_and_folders_are_upscaled_and_a_bad_file_does_not_stop_the_rest(graph, tmp_path, capsys):
    photos = tmp_path / "photos" / "inner"
    photos.mkdir(parents=True)
    Image.fromarray(noise(8, 10, 3)).save(photos / "a.png")
    (photos / "b.png").write_text("text")
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "photos"), "--engine", str(graph), "--out", str(tmp_path / "sr")])
    assert stopped.value.code == 1
    assert read_image(tmp_path / "sr" / "inner" / "a.png").shape == (16, 20, 3)
    assert "1 of 2 files failed" in capsys.readouterr().err


@pytest.mark.parametrize("photo", ["missing.png", "text.png", "one.png"])
def test_a_bad_photo_alone_exits_with_2_and_leaves_nothing(graph, tmp_path, photo, capsys):
    (tmp_path / "text.png").write_text("text")
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / photo), "--engine", str(graph), "--out", str(tmp_path / "sr")])
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err
    assert not list((tmp_path / "sr").glob("*"))


def test_the_runtime_needs_neither_torch_nor_onnx():
    script = (
        "import sys, defian_edge.runtime.session, defian_edge.runtime.command, defian_edge.runtime.timing\n"
        "extra = {'torch', 'onnx', 'onnx_ir', 'skimage', 'typer', 'rich'} & set(sys.modules)\nassert not extra, extra"
    )
    done = run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_a_profile_knows_what_fits_and_what_is_nearest():
    profile = ShapeProfile.parse("1x64x64,1x360x640,1x540x960")
    assert profile.contains((1, 64, 960))
    assert not profile.contains((1, 541, 64))
    assert profile.nearest((4, 1080, 32)) == (1, 540, 64)
    assert profile.largest_pixels == 540 * 960
    assert ShapeProfile.parse(str(profile)) == profile
    with pytest.raises(DefianError, match="two pixels"):
        ShapeProfile.parse("1x1x1")


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DefianError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_exif_orientation_and_grey_photos_are_read_upright_in_rgb(tmp_path):
    image = Image.fromarray(noise(4, 6, seed=1))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (6, 4, 3)


def test_sixteen_bit_photos_keep_their_brightness_and_values_without_a_white_are_refused(tmp_path):
    values = np.array([[0, 128, 32768, 65535]] * 4, np.uint16)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert read_image(tmp_path / name)[0, :, 1].tolist() == [0, 0, 128, 255]
    for kind, found in ((np.int32, "found signed numbers of 32 bits"), (np.float32, "expected 8 or 16 bits")):
        Image.fromarray(values.astype(kind)).save(tmp_path / "values.tif")
        with pytest.raises(DefianError, match=found):
            read_image(tmp_path / "values.tif")


def test_images_are_found_recursively_in_one_order_and_lr_fits_the_scale(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (7, 5)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    assert [path.name for path in images_in(tmp_path)] == ["a.JPG", "b.png", "c.png"]
    lr, hr = downscale(noise(11, 13, 3), 3)
    assert (lr.shape, hr.shape) == ((3, 4, 3), (9, 12, 3))


def test_taking_turns_finds_a_planted_slowdown_and_no_difference_between_equals():
    ticks = count()
    now = [0.0]

    def busy(seconds):
        def work():
            # The machine itself drifts: everything gets slower from round to round.
            now[0] += seconds * (1 + next(ticks) / 50)

        return work

    candidates = {"base": busy(0.1), "copy": busy(0.1), "slow": busy(0.11)}
    results = {r.name: r for r in take_turns(candidates, rounds=20, clock=lambda: now[0])}
    assert results["copy"].ratio == pytest.approx(1.0, abs=0.01)
    assert results["slow"].ratio == pytest.approx(1.1, abs=0.01)
    assert results["base"].percentile(95) == np.percentile(results["base"].seconds, 95)
