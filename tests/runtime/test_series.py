"""Animations and pages: every frame is upscaled into a file of the same kind, with its durations and loops."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from defian_edge.runtime.batch import Batch
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import opened_series, read_photo, series_kind
from defian_edge.runtime.jobs import plan_jobs
from defian_edge.runtime.resume import Resume
from defian_edge.runtime.series import KINDS, require_side, series_writer
from defian_edge.runtime.upscale_series import upscale_series
from defian_edge.runtime.whole import breaks_off
from tests.conftest import SHARED
from tests.doubles.enlarger import Enlarger

if TYPE_CHECKING:
    from pathlib import Path

    from defian_edge.runtime.upscale_series import UpscaledSeries

ANIMATED = ("WEBP", "PNG", "GIF")
DURATIONS = (80, 200, 40, 1000, 70_000)
COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (250, 250, 250), (8, 8, 8))


def pictures() -> list[Image.Image]:
    """A bar that moves over a colour."""
    made = []
    for index, colour in enumerate(COLOURS):
        pixels = np.full((24, 40, 3), colour, np.uint8)
        pixels[:, 8 * index : 8 * index + 4] = 120
        made.append(Image.fromarray(pixels))
    return made


def write(path: Path, kind: str, **options: Any) -> Path:  # noqa: ANN401
    first, *rest = pictures()
    if kind in ANIMATED:
        options = {"duration": list(DURATIONS), "loop": 3, **options}
    if kind == "WEBP":
        options |= {"lossless": True}
    first.save(path, format=kind, save_all=True, append_images=rest, **options)
    return path


def seen(path: Path) -> tuple[list[np.ndarray], list[float], Any]:
    """Frames as RGB, durations and loops, by Pillow."""
    frames, times = [], []
    with Image.open(path) as image:
        loop = image.info.get("loop")
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            frames.append(np.asarray(image.convert("RGB")))
            times.append(float(image.info.get("duration", 0)))
    return frames, times, loop


def made(source: Path, out: Path, kind: str) -> tuple[Path, UpscaledSeries]:
    [job] = plan_jobs([source], out)
    assert job.series == kind
    return job.target, upscale_series(Enlarger(), job.source, job.target, kind, lambda: None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_upscaled_with_durations_and_loops(tmp_path, kind):
    source = write(tmp_path / f"a{KINDS[kind][0]}", kind)
    target, result = made(source, tmp_path / "sr", kind)
    assert target.suffix == source.suffix
    assert result.frames == 5
    before, times, loop = seen(source)
    after, times_after, loop_after = seen(target)
    assert (times_after, loop_after) == (times, loop)
    assert loop == (3 if kind in ANIMATED else None)
    assert len(after) == len(before) == 5
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new, old.repeat(2, axis=0).repeat(2, axis=1))
    assert [path.name for path in (tmp_path / "sr").iterdir()] == [target.name]


@pytest.mark.parametrize("loop", [None, 0, 1, 7])
def test_a_gif_without_a_loop_has_none_and_one_without_end_has_no_end(tmp_path, loop):
    write(tmp_path / "a.gif", "GIF", loop=loop)
    target, _ = made(tmp_path / "a.gif", tmp_path / "sr", "GIF")
    assert seen(target)[2] == loop


def test_pages_of_different_sizes_keep_them_and_their_dpi(tmp_path):
    pages = [Image.fromarray(np.full((height, 20, 3), height, np.uint8)) for height in (10, 14, 6)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:], dpi=(300, 300))
    target, _ = made(tmp_path / "a.tiff", tmp_path / "sr", "TIFF")
    assert target.name == "a.tiff"
    frames, _, _ = seen(target)
    assert [frame.shape for frame in frames] == [(20, 40, 3), (28, 40, 3), (12, 40, 3)]
    assert [int(frame[0, 0, 0]) for frame in frames] == [10, 14, 6]
    with Image.open(target) as image:
        assert [float(each) for each in image.info["dpi"]] == [300, 300]


def test_sixteen_bit_pages_are_rounded_each_for_itself(tmp_path):
    pages = [Image.fromarray(np.full((6, 8), value, np.uint16)) for value in (0, 255, 257, 65535, 40_000)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    target, _ = made(tmp_path / "a.tif", tmp_path / "sr", "TIFF")
    assert [int(frame[0, 0, 0]) for frame in seen(target)[0]] == [0, 1, 1, 255, 156]


def test_frames_are_whole_where_the_file_holds_only_what_changes(tmp_path):
    """Pillow writes frames that lie upon each other; each result is a whole picture."""
    for kind in ANIMATED:
        source = write(tmp_path / f"b{KINDS[kind][0]}", kind)
        with opened_series(source) as series:
            assert [photo.pixels.shape for photo, _ in series.frames] == [(24, 40, 3)] * 5


def test_the_picture_for_programs_without_animation_is_no_frame(tmp_path):
    write(tmp_path / "a.png", "PNG", default_image=True, duration=list(DURATIONS[1:]))
    target, result = made(tmp_path / "a.png", tmp_path / "sr", "PNG")
    assert result.frames == len(seen(target)[0]) == 4


@pytest.mark.parametrize("name", ["a.webp", "b.png", "c.gif"])
def test_the_small_animations_that_lost_frames(tmp_path, name):
    source = SHARED / "cases" / "anim" / name
    if not source.is_file():
        pytest.skip(f"no {source}")
    [job] = plan_jobs([source], tmp_path / "sr")
    upscale_series(Enlarger(), source, job.target, job.series, lambda: None)
    before, after = seen(source), seen(job.target)
    assert len(after[0]) == 4
    assert after[1:] == before[1:]
    for old, new in zip(before[0], after[0], strict=True):
        tolerance = 40 if name == "c.gif" else 0
        assert np.abs(new.astype(int) - old.repeat(2, axis=0).repeat(2, axis=1)).max() <= tolerance


def test_a_still_picture_is_none_and_becomes_a_png(tmp_path):
    for kind, (suffix, *_) in KINDS.items():
        pictures()[0].save(tmp_path / f"a{suffix}", format=kind)
        assert series_kind(tmp_path / f"a{suffix}") == ""
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    assert series_kind(tmp_path / "broken.gif") == ""
    [job] = plan_jobs([tmp_path / "a.gif"], tmp_path / "sr")
    assert (job.target.name, job.series) == ("a.png", "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_that_cannot_be_made_is_told_and_leaves_nothing(tmp_path, kind):
    class Failing(Enlarger):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            if len(self.seen) == 3:
                raise DefianError("the device is gone")
            return super().__call__(images)

    source, out = write(tmp_path / f"a{KINDS[kind][0]}", kind), tmp_path / "sr"
    [job] = plan_jobs([source], out)
    with pytest.raises(DefianError, match="device is gone"):
        upscale_series(Failing(), source, job.target, kind, lambda: None)
    assert list(out.iterdir()) == []


def test_a_file_that_breaks_off_is_told_with_the_frame(tmp_path):
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)) for _ in range(4)]
    source, out = tmp_path / "a.png", tmp_path / "sr"
    pages[0].save(source, save_all=True, append_images=pages[1:])
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 5 // 8])
    [failure] = Batch(Enlarger(), Resume(out, {}), out).run(plan_jobs([source], out)).failures
    assert "cannot be decoded as an image at frame 3 of 4" in failure
    assert list(out.iterdir()) == []


def every_frame(path: Path) -> None:
    read_photo(path)
    if series_kind(path):
        with opened_series(path) as series:
            list(series.frames)


@pytest.mark.parametrize("kind", KINDS)
def test_wherever_a_file_breaks_off_it_is_never_taken_for_a_shorter_one(tmp_path, kind):
    """Pillow takes a GIF that breaks off in its second frame for a still picture."""
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)) for _ in range(4)]
    path = tmp_path / f"a{KINDS[kind][0]}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    whole = path.read_bytes()
    end = len(whole) - (kind == "GIF")  # its trailer says nothing
    for length in range(8, end, len(whole) // 60):
        path.write_bytes(whole[:length])
        with pytest.raises(DefianError, match=rf"a{KINDS[kind][0]}"):
            every_frame(path)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_pages_that_run_in_a_circle_are_told(tmp_path, order, big):
    head = {"<": b"II", ">": b"MM"}[order]
    if big:
        content = head + struct.pack(order + "HHHQ", 43, 8, 0, 16) + struct.pack(order + "QQ", 0, 16)
    else:
        content = head + struct.pack(order + "HI", 42, 8) + struct.pack(order + "HI", 0, 8)
    (tmp_path / "a.tif").write_bytes(content)
    assert breaks_off(tmp_path / "a.tif", "TIFF") == "its pages run in a circle after page 1"


def test_a_gif_without_its_trailer_is_whole(tmp_path):
    write(tmp_path / "a.gif", "GIF")
    (tmp_path / "a.gif").write_bytes((tmp_path / "a.gif").read_bytes()[:-1])
    assert breaks_off(tmp_path / "a.gif", "GIF") == ""
    assert series_kind(tmp_path / "a.gif") == "GIF"


def test_a_series_is_finished_when_it_is_and_says_how_many(tmp_path, capsys):
    source, out = write(tmp_path / "a.gif", "GIF"), tmp_path / "sr"
    for skipped in (0, 1):
        tally = Batch(Enlarger(), Resume(out, {}), out).run(plan_jobs([source], out))
        assert (tally.failures, tally.skipped) == ([], skipped)
    captured = capsys.readouterr()
    assert "5 pages or frames" in captured.out
    assert "256 colours a frame, as GIF has" in captured.err


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_written_as_they_come(tmp_path, kind):
    """What has been added lies in the file before the next frame is made, so that memory does not grow with them."""
    rng = np.random.default_rng(0)
    sizes = []
    with (tmp_path / "a").open("w+b") as stream:
        writer = series_writer(kind, stream, 4, 0)
        for _ in range(4):
            writer.add(Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)), 40)
            sizes.append(stream.tell())
        writer.finish()
    assert min(np.diff([0, *sizes])) > 3000
    assert len(seen(tmp_path / "a")[0]) == 4


@pytest.mark.parametrize(("kind", "side"), [("WEBP", 16385), ("GIF", 65536)])
def test_a_result_that_its_format_cannot_hold_is_refused(kind, side):
    require_side(kind, side - 1 - (kind == "WEBP"), 1)
    for size in itertools.permutations((side, 1)):
        with pytest.raises(DefianError, match=f"too large for {kind}"):
            require_side(kind, *size)
