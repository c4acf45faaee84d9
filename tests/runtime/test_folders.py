"""Folders as people have them: odd names, links, what may not be read, what is no photo, what is a video."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defian_edge.calibration.photos import evaluation_pairs
from defian_edge.runtime.batch import Batch
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import DiskFullError
from defian_edge.runtime.folders import files_below
from defian_edge.runtime.images import images_in, read_image
from defian_edge.runtime.jobs import plan, plan_jobs
from defian_edge.runtime.media import is_video
from defian_edge.runtime.quality import original_of
from defian_edge.runtime.resume import Resume
from tests.conftest import SHARED, noise
from tests.doubles.enlarger import Enlarger


def photo(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".jpg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}.get(path.suffix, "PNG")
    Image.fromarray(noise(16, 20, 3, seed=seed)).save(path, kind)
    return path


def targets(*inputs: Path, out: Path) -> dict[str, str]:
    return {job.source.name: job.target.relative_to(out).as_posix() for job in plan_jobs(inputs, out)}


def test_pictures_that_differ_in_their_suffix_alone_are_all_made(tmp_path):
    for name in ("cat.jpg", "cat.png", "dog.png", "cow.jpg", "cow.webp"):
        photo(tmp_path / "in" / name)
    found = targets(tmp_path / "in", out=tmp_path / "sr")
    assert found == {
        "cat.jpg": "cat.jpg.png",
        "cat.png": "cat.png",
        "cow.jpg": "cow.jpg.png",
        "cow.webp": "cow.webp.png",
        "dog.png": "dog.png",
    }


def test_a_file_that_is_named_twice_is_done_once(tmp_path, monkeypatch):
    photo(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path)
    both = (Path("in"), tmp_path / "in" / "a.png", Path("in", "..", "in", "a.png"))
    assert targets(*both, out=tmp_path / "sr") == {"a.png": "a.png"}
    (tmp_path / "link.png").symlink_to(tmp_path / "in" / "a.png")
    assert len(plan_jobs([tmp_path / "link.png", tmp_path / "in"], tmp_path / "sr")) == 1


def test_what_systems_leave_in_folders_is_no_photo_and_is_counted(tmp_path):
    folder = tmp_path / "in"
    photo(folder / "a.png")
    for name in ("._a.png", "Thumbs.db", ".DS_Store", "notes.txt", "code.ts", ".defian-tmp-0123.png"):
        (folder / name).write_bytes(b"\0\x05\x16\x07 no picture")
    made = plan([folder], tmp_path / "sr")
    assert [job.source.name for job in made.jobs] == ["a.png"]
    assert made.no_media == 5
    assert images_in(folder) == [folder / "a.png"]


def test_linked_folders_are_followed_and_circles_are_not(tmp_path):
    photo(tmp_path / "elsewhere" / "b.png")
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert [path.name for path in files_below(tmp_path / "in").files] == ["a.png", "b.png"]
    assert targets(tmp_path / "in", out=tmp_path / "sr") == {"a.png": "a.png", "b.png": "linked/b.png"}


def test_a_folder_that_may_not_be_read_is_told_and_the_rest_is_done(tmp_path, monkeypatch):
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "locked" / "b.png")
    plain = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(os, "scandir", guarded)
    made = plan([tmp_path / "in"], tmp_path / "sr")
    assert [job.source.name for job in made.jobs] == ["a.png"]
    assert made.unreadable == [tmp_path / "in" / "locked"]
    with pytest.raises(DefianError, match="locked cannot be read"):
        images_in(tmp_path / "in")


def test_content_decides_whether_a_file_is_a_video(tmp_path):
    av = pytest.importorskip("av")
    photo(tmp_path / "in" / "a.png").rename(tmp_path / "in" / "a.mp4")
    for suffix in ("mp4", "mkv", "avi", "ts", "mpg", "flv", "ogv", "wmv", "webm"):
        name = tmp_path / f"b.{suffix}"
        codec = {"mpg": "mpeg2video", "ogv": "libtheora", "wmv": "mpeg4", "webm": "libvpx-vp9", "flv": "flv1"}
        with av.open(str(name), "w") as out:
            chosen = codec.get(suffix, "libx264")
            if chosen not in av.codecs_available:
                chosen = {"flv": "flv", "ogv": "libvpx"}.get(suffix, "mpeg4")
            stream = out.add_stream(chosen, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for index in range(3):
                frame = av.VideoFrame.from_ndarray(noise(48, 64, 3, seed=index), format="rgb24")
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        assert is_video(name), suffix
        shutil.copyfile(name, tmp_path / "in" / f"{suffix}.png")
        assert is_video(tmp_path / "in" / f"{suffix}.png")
    assert not is_video(tmp_path / "in" / "a.mp4")
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF"):
        if kind in Image.SAVE or (Image.init() and kind in Image.SAVE):
            Image.fromarray(noise(32, 32, 3)).save(tmp_path / "p.mkv", kind)
            assert not is_video(tmp_path / "p.mkv"), kind
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert is_video(tmp_path / "broken.mp4")


@pytest.mark.parametrize("name", ["caf\udce9.png", "p" * 251 + ".png", "a\nb.png", "a:b.png", "-x.png", "[red]x.png"])
def test_odd_names_are_names(tmp_path, name):
    try:
        photo(tmp_path / "in" / "a.png").rename(tmp_path / "in" / name)
    except OSError:
        pytest.skip("this file system does not take the name")
    out = tmp_path / "sr"
    for skipped in (0, 1):
        tally = Batch(Enlarger(), Resume(out, {}), out).run(plan_jobs([tmp_path / "in"], out))
        assert (tally.failures, tally.skipped) == ([], skipped)
    assert np.array_equal(read_image(out / name)[::2, ::2], noise(16, 20, 3))


def test_a_full_disk_stops_everything_and_is_what_is_blamed(tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        photo(tmp_path / "in" / name)
    out, seen = tmp_path / "sr", Enlarger()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"a\.png: No space left on device[\s\S]*Free some space"):
        Batch(seen, Resume(out, {}), out).run(plan_jobs([tmp_path / "in"], out))
    assert len(seen.seen) == 1
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_a_bad_file_never_stops_the_others(tmp_path):
    for seed, name in enumerate(("a.png", "c.png")):
        photo(tmp_path / "in" / name, seed)
    (tmp_path / "in" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "in" / "b.mkv").write_bytes(b"\x1aE\xdf\xa3")
    out = tmp_path / "sr"
    tally = Batch(Enlarger(), Resume(out, {}), out).run(plan_jobs([tmp_path / "in"], out))
    assert tally.done == 2
    assert len(tally.failures) == 2


def test_the_small_folders_that_went_wrong(tmp_path):
    cases = SHARED / "cases"
    if not cases.is_dir():
        pytest.skip(f"no {cases}")
    out = tmp_path / "sr"
    for name, expected in {"fmt": 5, "stem": 3, "mac": 1, "anim": 3}.items():
        tally = Batch(Enlarger(), Resume(out / name, {}), out / name).run(plan_jobs([cases / name], out / name))
        assert (tally.failures, tally.done) == ([], expected), name
    assert images_in(cases / "mac") == [cases / "mac" / "photo.jpg"]


def originals(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        photo(folder / name, seed)


@pytest.mark.parametrize(
    ("result", "names", "wanted"),
    [
        ("a.png", ("a.jpg", "a.png"), "a.png"),
        ("a.png", ("a.bmp", "b.png"), "a.bmp"),
        ("cat.jpg.png", ("cat.jpg", "cat.png"), "cat.jpg"),
        ("cat.jpg.png", ("cat.png",), "cat.png"),
        ("0801x2.png", ("0801.png", "0802.png"), "0801.png"),
        ("0801x2.png", ("0801.png", "0801x2.png"), "0801x2.png"),
        ("0801x2.jpg.png", ("0801.png",), "0801.png"),
        ("a[1].png", ("a1.png", "a[1].bmp"), "a[1].bmp"),
    ],
)
def test_a_result_is_compared_with_the_original_of_its_name_or_of_divk2s(tmp_path, result, names, wanted):
    originals(tmp_path / "hr", *names)
    found = original_of(tmp_path / "sr" / result, tmp_path / "hr", tmp_path / "sr", 2)
    assert np.array_equal(found, read_image(tmp_path / "hr" / wanted))


@pytest.mark.parametrize("result", ["0801x3.png", "x2.png", "b.png"])
def test_another_scale_or_name_has_no_original(tmp_path, result):
    originals(tmp_path / "hr", "0801.png")
    with pytest.raises(DefianError, match="No original for"):
        original_of(tmp_path / "sr" / result, tmp_path / "hr", tmp_path / "sr", 2)


def test_lr_and_hr_of_div2k_go_together(tmp_path):
    for name in ("0801", "0802"):
        photo(tmp_path / "hr" / f"{name}.png")
        (tmp_path / "lr").mkdir(exist_ok=True)
        Image.fromarray(noise(8, 10, 3)).save(tmp_path / "lr" / f"{name}x2.png")
    pairs = evaluation_pairs(2, lr=tmp_path / "lr", hr=tmp_path / "hr")
    assert [(pair.lr.shape, pair.hr.shape) for pair in pairs] == [((8, 10, 3), (16, 20, 3))] * 2


def test_a_name_that_gets_too_long_by_its_suffix_is_cut(tmp_path):
    stem = "é" * 125  # 250 bytes
    for name in (f"{stem}.jpg", f"{stem}.png", f"{stem}a.bm"):
        photo(tmp_path / "in" / name)
    inputs = [tmp_path / "in", tmp_path / "in" / f"{stem}a.bm"]
    jobs = plan_jobs(inputs, tmp_path / "sr")
    assert Batch(Enlarger(), Resume(tmp_path / "sr", {}), tmp_path / "sr").run(jobs).failures == []
    names = sorted(path.name for path in (tmp_path / "sr").glob("*.png"))
    assert len(names) == 3
    assert f"{stem}.png" in names
    assert all(len(os.fsencode(name)) <= 255 for name in names)
    again = Batch(Enlarger(), Resume(tmp_path / "sr", {}), tmp_path / "sr").run(plan_jobs(inputs, tmp_path / "sr"))
    assert (again.done, again.skipped) == (0, 3)


def test_what_is_no_file_is_counted_and_a_name_without_a_suffix_is_looked_into(tmp_path):
    folder = tmp_path / "in"
    photo(folder / "a.png")
    shutil.copyfile(folder / "a.png", folder / "a")
    (folder / "README").write_text("no photo")
    (folder / "._a.png").write_bytes(b"\0\5\x16\7")
    (folder / "dead.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    made = plan([folder], tmp_path / "sr")
    assert [job.source.name for job in made.jobs] == ["a", "a.png"]
    assert [job.target.name for job in made.jobs] == ["a_.png", "a.png"]
    assert made.no_media == 4


def test_a_folder_that_cannot_be_read_is_no_file_that_failed(tmp_path, monkeypatch, capsys):
    from defian_edge.runtime import command
    from defian_edge.runtime.batch import Tally

    photo(tmp_path / "in" / "a.png")
    closed = tmp_path / "in" / "closed"
    made = plan([tmp_path / "in"], tmp_path / "sr")
    made.unreadable.append(closed)
    monkeypatch.setattr(command, "plan", lambda *_: made)
    monkeypatch.setattr(command, "_here", lambda *_, **__: Tally(done=1))
    given = ["--engine", str(tmp_path / "x.onnx"), "--out", str(tmp_path / "sr")]
    options = command._parser().parse_args([str(tmp_path / "in"), *given])
    assert command._run(options) == 1
    said = capsys.readouterr().err
    assert said == f"{closed}: this folder cannot be read.\n"
