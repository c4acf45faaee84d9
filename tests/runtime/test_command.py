"""``python -m runtime``: folders, resuming, bad files, tiles, comparison, video and exit status."""

from __future__ import annotations

import io
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defian_edge.runtime.command import main
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.guard import SuspiciousFrameWarning
from defian_edge.runtime.images import read_image, read_photo
from defian_edge.runtime.jobs import plan_jobs
from defian_edge.runtime.onnx_session import OnnxSession
from tests.conftest import noise
from tests.doubles.graph_file import write_file
from tests.runtime.test_progress import Terminal


@pytest.fixture
def graph(tiny_graph, tmp_path) -> Path:
    """A tiny graph on disk with its manifest."""
    return write_file(tmp_path / "tiny.fp32.onnx", tiny_graph)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three photos, one of them in a subfolder."""
    folder = tmp_path / "photos"
    for seed, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(16, 18, 3, seed=seed)).save(folder / name)
    return folder


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(each) for each in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_finished_files_are_skipped_and_done_again_on_demand_or_when_their_source_is_another(
    graph, photos, tmp_path, capsys
):
    out = tmp_path / "sr"
    assert run(photos, "--engine", graph, "--out", out) == 0
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert sorted(path.name for path in made) == ["a.png", "b.png", "c.png"]
    (out / "a.png").unlink()
    Image.fromarray(noise(16, 18, 3, seed=7)).save(photos / "b.jpg")
    capsys.readouterr()
    assert run(photos, "--engine", graph, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "1 of 3 were finished already" in printed
    assert "a.png ->" in printed
    assert "b.jpg ->" in printed
    assert (out / "sub" / "c.png").stat().st_mtime_ns == made[out / "sub" / "c.png"]
    assert run(photos, "--engine", graph, "--out", out, "--overwrite") == 0
    assert "finished already" not in capsys.readouterr().out


def test_results_of_another_engine_or_other_tiles_are_not_taken_for_finished(graph, photos, tmp_path, capsys):
    command = (photos, "--engine", graph, "--out", tmp_path / "sr")
    tiled = (*command, "--tile", "12x12", "--overlap", 4)
    assert run(*command) == 0
    (photos / "sub" / "c.png").rename(tmp_path / "elsewhere.png")
    capsys.readouterr()
    assert run(*tiled) == 0
    assert "finished already" not in capsys.readouterr().out
    (tmp_path / "elsewhere.png").rename(photos / "sub" / "c.png")
    assert run(*tiled) == 0
    printed = capsys.readouterr().out
    assert "2 of 3 were finished already" in printed
    assert "c.png ->" in printed, "its result is newer than engine and photo, and of the run without tiles"


def test_an_interrupted_run_goes_on_where_it_stopped(graph, photos, tmp_path, monkeypatch, capsys):
    plain, calls = OnnxSession.__call__, []

    def interrupted(self: OnnxSession, images: np.ndarray) -> np.ndarray:
        calls.append(images.shape)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(self, images)

    command = (photos, "--engine", graph, "--out", tmp_path / "sr")
    monkeypatch.setattr(OnnxSession, "__call__", interrupted)
    assert run(*command) == 130
    assert "goes on where it stopped" in capsys.readouterr().err
    assert run(*command) == 0
    assert "1 of 3 were finished already" in capsys.readouterr().out
    assert len(calls) == 2 + 2


def test_a_provider_for_an_engine_is_refused(photos, tmp_path, capsys):
    assert run(photos, "--engine", "x.engine", "--out", tmp_path / "sr", "--provider", "cuda") == 2
    assert "expected a graph (.onnx), found the engine x.engine" in capsys.readouterr().err


def test_bad_files_are_reported_at_the_end_and_the_rest_is_done(graph, photos, tmp_path, capsys):
    (photos / "aa.png").write_text("text")
    assert run(photos, "--engine", graph, "--out", tmp_path / "sr") == 1
    captured = capsys.readouterr()
    assert captured.out.count("->") == 3
    assert captured.err.strip().endswith("1 of 4 files failed")
    assert "aa.png cannot be decoded" in captured.err


def test_a_bad_file_ends_the_command_with_2_if_it_is_the_input_and_with_1_if_it_lies_in_a_folder(graph, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("text")
    assert run(tmp_path / "photos", "--engine", graph, "--out", tmp_path / "sr") == 1
    assert run(tmp_path / "photos" / "a.png", "--engine", graph, "--out", tmp_path / "sr") == 2


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_bad_file_among_those_that_are_named_does_not_stop_the_others(graph, photos, tmp_path, capsys, place):
    named = sorted(photos.rglob("*.png"))
    (tmp_path / "bad.png").write_text("text")
    named.insert(place, tmp_path / "bad.png")
    assert run(*named, "--engine", graph, "--out", tmp_path / "sr") == 1
    captured = capsys.readouterr()
    assert captured.out.count("->") == len(named) - 1
    assert captured.err.strip().endswith(f"1 of {len(named)} files failed")


@pytest.mark.parametrize(
    "kind", [struct.error, EOFError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError, MemoryError]
)
def test_whatever_pillow_raises_at_a_broken_photo_the_rest_is_done(graph, photos, tmp_path, monkeypatch, capsys, kind):
    plain, calls = Image.Image.getexif, []

    def broken(image: Image.Image) -> Image.Exif:
        calls.append(image)
        if len(calls) == 1:
            raise kind("broken EXIF")
        return plain(image)

    monkeypatch.setattr(Image.Image, "getexif", broken)
    assert run(photos, "--engine", graph, "--out", tmp_path / "sr") == 1
    captured = capsys.readouterr()
    assert captured.out.count("->") == 2
    assert "a.png cannot be decoded as an image" in captured.err


def test_a_photo_with_a_broken_exif_block_is_turned_and_its_loss_is_told(tmp_path, monkeypatch):
    """One damaged byte: a description becomes the place of strips, which would have to be a number."""
    block = Image.Exif()
    block[0x0112], block[0x010E] = 6, "hello"
    content = io.BytesIO()
    Image.fromarray(noise(8, 12, 3)).save(content, "JPEG", exif=block)
    assert content.getvalue().count(b"\x01\x0e\0\x02") == 1
    (tmp_path / "a.jpg").write_bytes(content.getvalue().replace(b"\x01\x0e\0\x02", b"\x01\x11\0\x02"))
    assert read_photo(tmp_path / "a.jpg").pixels.shape == (12, 8, 3)

    def broken(_: Image.Exif, __: int = 8) -> bytes:
        raise struct.error("broken EXIF")

    block[0x0110] = "Camera"
    Image.fromarray(noise(8, 12, 3)).save(tmp_path / "b.jpg", exif=block)
    monkeypatch.setattr(Image.Exif, "tobytes", broken)
    photo = read_photo(tmp_path / "b.jpg")
    assert photo.pixels.shape == (12, 8, 3)
    assert "EXIF block cannot be written again" in photo.remarks[0]


def test_a_broken_video_does_not_stop_the_photos_beside_it(graph, photos, tmp_path, capsys):
    pytest.importorskip("av")
    (photos / "a.mp4").write_bytes(b"no video")
    assert run(photos, "--engine", graph, "--out", tmp_path / "sr") == 1
    captured = capsys.readouterr()
    assert captured.out.count("->") == 3
    assert "a.mp4: Invalid data" in captured.err
    assert captured.err.strip().endswith("1 of 4 files failed")
    assert not (tmp_path / "sr" / "a.mp4").exists()


def test_tiles_are_made_when_asked_for_and_the_difference_is_mentioned(graph, photos, tmp_path, capsys):
    assert run(photos / "a.png", "--engine", graph, "--out", tmp_path / "t", "--tile", "12x12", "--overlap", 4) == 0
    assert "4 tiles of 12x12, overlap 4: not quite the result in one piece" in capsys.readouterr().out
    assert run(photos / "a.png", "--engine", graph, "--out", tmp_path / "w") == 0
    assert "tiles of" not in capsys.readouterr().out
    tiled, whole = (read_image(tmp_path / folder / "a.png") for folder in ("t", "w"))
    assert tiled.shape == whole.shape
    assert 0 < np.abs(tiled.astype(int) - whole).mean() < 20


@pytest.mark.parametrize("tile", ["12", "12x", "x", "0x0", "12x12"])
def test_a_tile_that_makes_no_sense_is_refused(graph, photos, tmp_path, tile, capsys):
    arguments = (photos / "a.png", "--engine", graph, "--out", tmp_path / "t", "--tile", tile, "--overlap", 7)
    assert run(*arguments) == 2
    assert "expected" in capsys.readouterr().err.lower()


def test_results_are_compared_with_their_originals(graph, photos, tmp_path, capsys):
    out, originals = tmp_path / "sr", tmp_path / "hr"
    assert run(photos, "--engine", graph, "--out", out) == 0
    for path in out.rglob("*.png"):
        target = originals / path.relative_to(out)
        target.parent.mkdir(parents=True, exist_ok=True)
        image = read_image(path)
        Image.fromarray(np.pad(image, ((0, 1), (0, 1), (0, 0)))).save(target)
    changed = read_image(originals / "a.png").copy()
    changed[10:20] ^= 8
    Image.fromarray(changed).save(originals / "a.png")
    capsys.readouterr()
    assert run(photos, "--engine", graph, "--out", out, "--compare", originals) == 0
    printed = capsys.readouterr().out
    assert "PSNR-Y inf dB, SSIM-Y 1.0000" in printed
    assert "mean of 3: PSNR-Y inf" in printed
    (originals / "sub" / "c.png").unlink()
    assert run(photos, "--engine", graph, "--out", out, "--compare", originals) == 1
    assert "No original for" in capsys.readouterr().err


def test_comparing_without_scikit_image_names_what_to_install(graph, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert run(photos, "--engine", graph, "--out", tmp_path / "sr", "--compare", photos) == 2
    assert "scikit-image" in capsys.readouterr().err


def test_video_without_pyav_names_what_to_install(graph, tmp_path, monkeypatch, capsys):
    (tmp_path / "in.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    assert run(tmp_path / "in.mp4", "--engine", graph, "--out", tmp_path / "sr") == 2
    assert "defian-edge[video]" in capsys.readouterr().err


def test_a_video_is_upscaled_by_the_command(graph, tmp_path, capsys):
    from tests.runtime.test_video import read_video, write_video

    write_video(tmp_path / "in.mp4", size=32, sound=False)
    assert run(tmp_path / "in.mp4", "--engine", graph, "--out", tmp_path / "sr") == 0
    assert "(6 frames, " in capsys.readouterr().out
    assert read_video(tmp_path / "sr" / "in.mp4").frames[5].shape == (64, 64, 3)


def test_how_a_video_is_encoded_decides_whether_it_is_finished_and_photos_do_not_care(graph, tmp_path, capsys):
    from tests.runtime.test_video import write_video

    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "in.mov", size=32, sound=False)
    Image.fromarray(noise(16, 18, 3)).save(folder / "a.png")
    command = (folder, "--engine", graph, "--out", tmp_path / "sr")
    for extra, done in (
        ((), ["a.png", "in.mov"]),
        ((), []),
        (("--crf", "16", "--preset", "medium"), []),
        (("--crf", "30"), ["in.mov"]),
        (("--video-codec", "libsvtav1", "--preset", "12"), ["in.mkv"]),
    ):
        assert run(*command, *extra) == 0
        made = [line for line in capsys.readouterr().out.splitlines() if " -> " in line]
        assert [name for name in ("a.png", "in.mov", "in.mkv") if any(f"sr/{name} (" in line for line in made)] == done


def test_an_encoder_that_is_not_there_is_refused_before_the_engine_is_opened(graph, tmp_path, monkeypatch, capsys):
    from defian_edge.runtime import command, video_encoder
    from tests.runtime.test_video import write_video

    write_video(tmp_path / "in.mp4", size=32, sound=False)
    monkeypatch.setattr(video_encoder, "_why_not", lambda _, encoding: "no" * encoding.codec.endswith("nvenc"))
    monkeypatch.setattr(command, "_here", lambda *_, **__: pytest.fail("the work began"))
    given = (tmp_path / "in.mp4", "--engine", graph, "--out", tmp_path / "sr", "--video-codec", "h264_nvenc")
    assert run(*given) == 2
    assert "These work here: libx264, libx265, libsvtav1, ffv1." in capsys.readouterr().err
    assert not (tmp_path / "sr").exists()


def test_frames_in_tiles_are_mentioned_as_photos_are(graph, tmp_path, capsys):
    from tests.runtime.test_video import write_video

    write_video(tmp_path / "in.mp4", size=32, sound=False)
    command = (tmp_path / "in.mp4", "--engine", graph, "--out")
    assert run(*command, tmp_path / "t", "--tile", "20x20", "--overlap", 4) == 0
    assert "6 of them in tiles of 20x20, overlap 4: not quite the result in one piece" in capsys.readouterr().out
    assert run(*command, tmp_path / "w") == 0
    assert "in tiles" not in capsys.readouterr().out


def test_two_sources_of_one_result_and_a_source_that_is_its_own_result_are_refused(tmp_path):
    for name in ("a.png", "A/a.png", "B/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(4, 4, 3)).save(tmp_path / name)
    with pytest.raises(DefianError, match="would both become"):
        plan_jobs([tmp_path / "A", tmp_path / "B"], tmp_path / "sr")
    with pytest.raises(DefianError, match="overwritten by its own result"):
        plan_jobs([tmp_path / "a.png"], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DefianError, match="No photo or video below"):
        plan_jobs([tmp_path / "empty"], tmp_path / "sr")


@pytest.mark.parametrize("left", [".defian-tmp-0123456789ab.mp4", "sr/.defian-tmp-0123456789ab.mkv"])
def test_results_below_their_sources_and_remains_of_a_killed_video_are_no_sources(tmp_path, monkeypatch, left):
    for name in ("a.png", "srx/b.png", ".c/d.png", "sr/a.png", "sr/sub/a.png", left):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    for folder, out in ((tmp_path, tmp_path / "sr"), (Path(), Path("sr")), (tmp_path, Path("srx", "..", "sr"))):
        sources = [job.source.relative_to(folder).as_posix() for job in plan_jobs([folder], out)]
        assert sources == [".c/d.png", "a.png", "srx/b.png"]
    inside = [job.source.as_posix() for job in plan_jobs([Path("sr", "sub")], Path("sr"))]
    assert inside == ["sr/sub/a.png"], "what is asked for by name is a source"


def test_containers_that_cannot_hold_the_result_become_mkv(tmp_path):
    for name in ("a.webm", "b.MOV", "c.jpeg"):
        (tmp_path / name).touch()
    targets = [job.target.name for job in plan_jobs([tmp_path], tmp_path / "sr")]
    assert targets == ["a.mkv", "b.mov", "c.png"]


def test_suspicious_frames_end_the_command_with_1(graph, photos, tmp_path, monkeypatch, capsys):
    def black(self: OnnxSession, images: np.ndarray) -> np.ndarray:
        upscaled = np.zeros((len(images), 32, 36, 3), np.uint8)
        self.guard.see(images, upscaled)
        return upscaled

    monkeypatch.setattr(OnnxSession, "__call__", black)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SuspiciousFrameWarning)
        assert run(photos, "--engine", graph, "--out", tmp_path / "sr") == 1
    assert "3 of 3 frames came out black or white, in whole or in a patch" in capsys.readouterr().err


def test_a_folder_shows_its_progress_in_a_terminal(graph, photos, tmp_path, monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run(photos, "--engine", graph, "--out", tmp_path / "sr") == 0
    assert f"[{30 * '#'}] 3/3 0:00 left" in terminal.getvalue()
    assert capsys.readouterr().out.count("->") == 3
