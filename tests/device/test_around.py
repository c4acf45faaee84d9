"""What surrounds a session, on an engine: tiles, the command line, video, the plugin, missing packages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from runtime.__main__ import main
from runtime.engine import session as session_module
from runtime.errors import DefianError
from runtime.images import read_image
from runtime.plugin import PLUGIN_KEY
from runtime.session import open_session
from runtime.tiles import TiledSession, Tiling
from tests.device.engines import Reference, noise, write_engine
from tests.doubles.enlarger import Enlarger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("trt")


class OnTheCpu(Enlarger):
    """The reference as a session, to be cut into the same tiles."""

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference = reference

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.reference(images)

    def upscale_frames(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
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


def test_plugins_of_the_manifest_are_provided_before_the_engine_is_loaded(tmp_path, trt, monkeypatch):
    provided: list[tuple[object, tuple[str, ...], int]] = []
    monkeypatch.setattr(
        session_module, "provide", lambda module, plugins: provided.append((module, plugins, len(trt.loggers)))
    )
    with open_session(write_engine(tmp_path, plugins=(PLUGIN_KEY,))):
        assert provided == [(trt, (PLUGIN_KEY,), 0)]


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
