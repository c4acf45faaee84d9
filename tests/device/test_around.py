"""What surrounds a session, on an engine: tiles, the command line, video, the plugin, missing packages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from defian_edge.runtime.command import main
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import read_image
from defian_edge.runtime.plugin import PLUGIN_KEY, device
from defian_edge.runtime.session import open_session
from defian_edge.runtime.tiles import TiledSession
from defian_edge.runtime.tiling import Tiling
from tests.device.engines import GRAPH, Reference, noise, write_engine
from tests.doubles.enlarger import Enlarger
from tests.doubles.tensorrt_module import NEEDS_PLUGIN

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("trt")


class OnTheCpu(Enlarger):
    """The reference as a session, to be cut into the same tiles."""

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference = reference

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.reference(images)

    def upscale_frames(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        for frame in frames:
            yield self(np.ascontiguousarray(frame)[None])[0]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(each) for each in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (2, 100, 64, 3), (1, 70, 130, 3)])
def test_an_image_larger_than_the_profile_goes_in_tiles_with_the_right_pixels(tmp_path, reference, driver, shape):
    images, tiling = noise(*shape), Tiling(64, 64, 16)
    with TiledSession(open_session(write_engine(tmp_path)), tiling, always=False) as session:
        upscaled = session(images)
    whole = shape[1] <= 64 and shape[2] <= 64
    expected = reference(images) if whole else TiledSession(OnTheCpu(reference), tiling)(images)
    assert np.array_equal(upscaled, expected)
    assert driver.ask("live") == 0


def test_the_command_upscales_a_folder_on_an_engine_and_tiles_what_is_too_large(tmp_path, reference, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, height in (("a", 20), ("b", 20), ("c", 99)):
        Image.fromarray(noise(height, 30, 3)).save(folder / f"{name}.png")
    (folder / "bad.png").write_text("text")
    assert run(folder, "--engine", write_engine(tmp_path), "--out", tmp_path / "sr") == 1
    captured = capsys.readouterr()
    assert "tensorrt 10.3.0 on stand-in GPU" in captured.out
    assert captured.out.count("tiles of 64x64, overlap 16") == 1
    assert "1 of 4 files failed" in captured.err
    assert np.array_equal(read_image(tmp_path / "sr" / "a.png"), reference(noise(20, 30, 3)[None])[0])
    assert read_image(tmp_path / "sr" / "c.png").shape == (198, 60, 3)


def test_without_tiles_what_is_too_large_is_an_error_that_names_the_way_out(tmp_path, capsys):
    Image.fromarray(noise(99, 30, 3)).save(tmp_path / "c.png")
    engine = write_engine(tmp_path)
    assert run(tmp_path / "c.png", "--engine", engine, "--out", tmp_path / "sr", "--tile", "off") == 2
    error = capsys.readouterr().err
    assert "nearest that fits is 1x64x30" in error
    assert "--profile 1x4x4,1x16x16,2x99x64" in error


def test_a_video_runs_through_the_pipeline(tmp_path, driver):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(tmp_path / "in.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for seed in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 20 * seed, np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert run(tmp_path / "in.mp4", "--engine", write_engine(tmp_path), "--out", tmp_path / "sr") == 0
    with av.open(str(tmp_path / "sr" / "in.mp4")) as made:
        shapes = [frame.to_ndarray(format="rgb24").shape for frame in made.decode(video=0)]
    assert shapes == [(64, 96, 3)] * 10
    assert driver.ask("live") == 0


@pytest.fixture
def plugin_engine(tmp_path, monkeypatch) -> Path:
    """An engine that holds the eigenvalue plugin, as its manifest says; its kernel is compiled already."""
    monkeypatch.setattr(device, "kernel_images", lambda _: [("this test", lambda: b"code")])
    device._library.cache_clear()
    plan = NEEDS_PLUGIN + GRAPH.read_bytes()
    return write_engine(tmp_path, plan=plan, plugins=(PLUGIN_KEY,))


def test_the_plugin_that_the_manifest_lists_is_registered_before_the_engine_is_loaded(plugin_engine, trt, reference):
    images = noise(1, 8, 8, 3)
    for _ in range(2):
        with open_session(plugin_engine) as session:
            assert np.array_equal(session(images), reference(images))
    [creator] = trt.registry.all_creators
    assert (creator.plugin_namespace, creator.name, creator.plugin_version) == ("defian", "MaxHessianEigenvalue", "1")
    assert not trt.aborted


WITHOUT_PLUGIN = {
    "an old TensorRT": "TensorRT 10.3 or later with Python plugins",
    "no cuda-bindings": r"eigenvalue plugin needs the package 'cuda-bindings'[\s\S]*defian-edge\[device\]",
    "no compiler": "NVRTC was not found",
    "another version": r"'defian::MaxHessianEigenvalue/9', and this installation provides",
}


@pytest.mark.parametrize("case", WITHOUT_PLUGIN)
def test_without_the_plugin_the_error_says_so_before_tensorrt_aborts(plugin_engine, trt, monkeypatch, case):
    if case == "an old TensorRT":
        monkeypatch.delattr(trt, "IPluginV3OneRuntime")
    elif case == "no cuda-bindings":
        monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    elif case == "no compiler":

        def refuse() -> bytes:
            raise DefianError("NVRTC was not found")

        monkeypatch.setattr(device, "kernel_images", lambda _: [("NVRTC", refuse)])
    else:
        write_engine(plugin_engine.parent, plan=plugin_engine.read_bytes(), plugins=("defian::MaxHessianEigenvalue/9",))
    with pytest.raises(DefianError, match=WITHOUT_PLUGIN[case]):
        open_session(plugin_engine)
    assert not trt.aborted
    assert not trt.loggers


def test_the_double_aborts_where_tensorrt_would(plugin_engine, trt):
    """The proof that the tests above would notice a plugin that comes too late."""
    write_engine(plugin_engine.parent, plan=plugin_engine.read_bytes())
    with pytest.raises(DefianError, match="loading"):
        open_session(plugin_engine)
    assert trt.aborted


@pytest.mark.parametrize(
    ("module", "message"),
    [("pycuda.driver", r"defian-edge\[device\]"), ("tensorrt", r"defian-edge\[gpu\]")],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DefianError, match=message):
        open_session(write_engine(tmp_path))


def test_an_engine_without_its_manifest_is_refused(tmp_path: Path):
    engine = write_engine(tmp_path)
    engine.with_name(f"{engine.name}.json").unlink()
    with pytest.raises(DefianError, match=r"found no tiny\.fp32\.engine\.json"):
        open_session(engine)
