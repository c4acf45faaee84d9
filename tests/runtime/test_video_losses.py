"""What a video's header promises is held against what came out; what can be kept is kept, what is not is told."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from defian_edge.runtime.batch import Batch
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.jobs import plan_jobs
from defian_edge.runtime.resume import Resume
from defian_edge.runtime.video import upscale_video
from defian_edge.runtime.video_encoder import Encoding
from defian_edge.runtime.video_source import says_interlaced
from tests.conftest import SHARED, noise
from tests.doubles.enlarger import Enlarger

if TYPE_CHECKING:
    from pathlib import Path

    from defian_edge.runtime.video import Film

av = pytest.importorskip("av", reason="PyAV is not installed")


def film(path: Path, count: int = 60) -> Path:
    """Noise, so that every frame takes many bytes."""
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=25, options={"crf": "20", "bf": "0"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(noise(64, 96, 3, seed=index), format="rgb24")
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


def upscaled(source: Path, out: Path, suffix: str = "") -> Film:
    return upscale_video(Enlarger(), source, out / f"{source.stem}{suffix or source.suffix}", lambda: None)


def shown(path: Path) -> int:
    with av.open(str(path)) as reader:
        return sum(1 for _ in reader.decode(video=0))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".ts"])
def test_a_whole_video_is_said_to_be_whole(tmp_path, suffix):
    made = upscaled(film(tmp_path / f"a{suffix}"), tmp_path / "sr", ".mkv")
    assert (made.frames, made.losses, made.remarks) == (60, (), ())


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def holed(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(len(content) // 5) + content[middle + len(content) // 5 :]


def moved_up(path: Path) -> Path:
    """The same with its table of contents first, as what is streamed has it."""
    with av.open(str(path)) as reader, av.open(str(path) + ".mp4", "w", options={"movflags": "faststart"}) as writer:
        copy = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                writer.mux(packet)
    path.write_bytes((path.parent / f"{path.name}.mp4").read_bytes())
    return path


@pytest.mark.parametrize("damage", [cut, holed])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_damaged_video_is_told_its_rest_is_made_and_it_is_never_finished(tmp_path, capsys, suffix, damage):
    source, out = film(tmp_path / f"a{suffix}"), tmp_path / "sr"
    if suffix == ".mp4":
        moved_up(source)
    source.write_bytes(damage(source.read_bytes()))
    failure = ""
    for _ in range(2):
        tally = Batch(Enlarger(), Resume(out, {}), out).run(plan_jobs([source], out))
        [failure] = tally.failures
        assert "not all of it came out" in failure
        assert any(words in failure for words in ("the header promises", "could not be decoded", "are damaged"))
        assert tally.skipped == 0
    [result] = [path for path in out.iterdir() if path.is_file()]
    assert 0 < shown(result) < 60 or "damaged" in failure
    capsys.readouterr()


def test_cover_art_is_no_film(tmp_path):
    source = tmp_path / "a.mp4"
    Image.fromarray(noise(32, 32, 3)).save(tmp_path / "cover.jpg")
    film(tmp_path / "plain.mp4", 6)
    plain, picture = str(tmp_path / "plain.mp4"), str(tmp_path / "cover.jpg")
    with av.open(plain) as reader, av.open(picture) as cover, av.open(str(source), "w") as writer:
        first = writer.add_stream_from_template(cover.streams.video[0])
        first.disposition = av.stream.Disposition.attached_pic
        second = writer.add_stream_from_template(reader.streams.video[0])
        for container, copy in ((cover, first), (reader, second)):
            for packet in container.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copy
                    writer.mux(packet)
    made = upscaled(source, tmp_path / "sr")
    assert made.frames == 6
    [remark] = made.remarks
    assert remark.startswith("attached picture")


CASES = {
    "cover_first.mp4": (8, ""),
    "cut.mkv": (14, "promises 1.20 s, the film ends at 0.56 s"),
    "tracks.mkv": (10, ""),
    "interlaced.mkv": (8, ""),
    "camcorder.mts": (8, ""),
    "old.mpg": (8, ""),
}


@pytest.mark.parametrize("name", CASES)
def test_the_small_videos_that_went_wrong(tmp_path, name):
    source = SHARED / "cases" / "video" / name
    if not source.is_file():
        pytest.skip(f"no {source}")
    frames, loss = CASES[name]
    [job] = plan_jobs([source], tmp_path / "sr")
    assert job.is_video
    made = upscale_video(Enlarger(), source, job.target, lambda: None)
    assert made.frames == shown(job.target) == frames
    assert bool(made.losses) == bool(loss)
    assert not loss or any(loss in each for each in made.losses)


def combing(frame: np.ndarray) -> float:
    """How much neighbouring lines differ beyond lines two apart."""
    grey = frame.astype(float).mean(axis=2)
    return float(np.abs(np.diff(grey, axis=0)).mean() / (np.abs(grey[2:] - grey[:-2]).mean() + 1e-9))


def interlaced(path: Path, count: int = 12) -> Path:
    """A bar that moves between the two fields of every frame, as a camera of 50 fields takes it."""
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=25, options={"crf": "5", "x264-params": "tff=1"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for index in range(count):
            picture = np.full((64, 96, 3), 30, np.uint8)
            picture[0::2, 8 * index % 80 : 8 * index % 80 + 16] = 230
            picture[1::2, (8 * index + 4) % 84 : (8 * index + 4) % 84 + 16] = 230
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
    return path


def test_an_interlaced_video_is_deinterlaced_and_keeps_its_times(tmp_path):
    source = interlaced(tmp_path / "a.mkv")
    made = upscaled(source, tmp_path / "sr")
    assert made.frames == 12
    assert made.remarks == ("12 frames were interlaced, and are deinterlaced",)
    with av.open(str(source)) as before, av.open(str(tmp_path / "sr" / "a.mkv")) as after:
        old, new = (list(each.decode(video=0)) for each in (before, after))
    assert [frame.time for frame in new] == pytest.approx([frame.time for frame in old], abs=0.0011)
    assert not any(frame.interlaced_frame for frame in new)
    pictures = [each.to_ndarray(format="rgb24") for each in (old[6], new[6])]
    assert combing(pictures[0]) > 2 * combing(pictures[1][::2])


def test_a_size_that_changes_in_the_middle_is_refused_with_the_place(tmp_path):
    first, second = film(tmp_path / "a.ts", 5), tmp_path / "b.ts"
    with av.open(str(second), "w") as out:
        video: Any = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for index in range(5):
            out.mux(video.encode(av.VideoFrame.from_ndarray(noise(48, 64, 3, seed=index), format="rgb24")))
        out.mux(video.encode(None))
    joined = tmp_path / "c.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(DefianError, match=r"change from 96x64 to 64x48 at frame 6"):
        upscaled(joined, tmp_path / "sr", ".mkv")
    assert list((tmp_path / "sr").iterdir()) == []


def with_tracks(path: Path) -> Path:
    """Two languages of sound, titles, two chapters, a comment, a disposition and a language for the film."""
    with av.open(str(path), "w") as out:
        out.metadata.update({"title": "My Film", "comment": "of 2024"})
        video: Any = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.metadata["language"] = "fra"
        sounds: list[Any] = []
        for language, title in (("eng", "Main"), ("jpn", "Commentary")):
            sound: Any = out.add_stream("aac", rate=48000, layout="mono")
            sound.metadata.update({"language": language, "title": title})
            sounds.append(sound)
        sounds[1].disposition = av.stream.Disposition.comment
        base = Fraction(1, 1000)
        out.set_chapters(
            [
                {"id": 1, "start": 0, "end": 200, "time_base": base, "metadata": {"title": "One"}},
                {"id": 2, "start": 200, "end": 400, "time_base": base, "metadata": {"title": "Two"}},
            ]
        )
        for index in range(10):
            out.mux(video.encode(av.VideoFrame.from_ndarray(noise(64, 96, 3, seed=index), format="rgb24")))
        out.mux(video.encode(None))
        for sound in sounds:
            for index in range(18):
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                samples.sample_rate, samples.pts = 48000, 1024 * index
                out.mux(sound.encode(samples))
            out.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_languages_titles_dispositions_chapters_and_metadata_are_kept(tmp_path, suffix):
    source = with_tracks(tmp_path / f"a{suffix}")
    made = upscaled(source, tmp_path / "sr")
    assert (made.losses, made.remarks) == ((), ())
    with av.open(str(tmp_path / "sr" / f"a{suffix}")) as after, av.open(str(source)) as before:
        said = {key.lower(): value for key, value in after.metadata.items()}
        assert (said["title"], said["comment"]) == ("My Film", "of 2024")
        assert [each["metadata"]["title"] for each in after.chapters()] == ["One", "Two"]
        for key in ("language", "title"):
            assert [each.metadata.get(key) for each in after.streams] == [
                each.metadata.get(key) for each in before.streams
            ]
        assert [int(each.disposition) for each in after.streams] == [int(each.disposition) for each in before.streams]
        assert after.streams[0].metadata["language"] == "fra"


def test_ten_bits_stay_ten_bits_and_it_is_said_what_the_network_sees(tmp_path):
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as out:
        video: Any = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p10le"
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(noise(64, 96, 3, seed=index), format="rgb24")
            out.mux(video.encode(frame.reformat(format="yuv420p10le")))
        out.mux(video.encode(None))
    made = upscaled(source, tmp_path / "sr")
    assert made.remarks == ("10 bits a channel in the result, 8 in the network",)
    with av.open(str(tmp_path / "sr" / "a.mkv")) as after:
        assert after.streams.video[0].codec_context.pix_fmt == "yuv420p10le"


@pytest.mark.parametrize("name", ["2024-11-26T12:30:00.mkv", "concat:x.mkv", "%05d.mkv", "a|b.mkv", "n" * 251 + ".mkv"])
def test_a_name_that_looks_like_a_protocol_or_a_pattern_is_a_name(tmp_path, name):
    film(tmp_path / "plain.mkv", 3)
    (tmp_path / "plain.mkv").rename(tmp_path / name)
    assert upscaled(tmp_path / name, tmp_path / "sr").frames == 3
    assert (tmp_path / "sr" / name).is_file()


def test_a_name_that_is_no_text_is_a_name(tmp_path):
    film(tmp_path / "plain.mkv", 3)
    name = "caf\udce9.mkv"
    try:
        (tmp_path / "plain.mkv").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    assert upscaled(tmp_path / name, tmp_path / "sr").frames == 3
    assert (tmp_path / "sr" / name).is_file()


def test_the_field_order_that_an_old_pyav_does_not_tell_is_warned_of_and_taken_for_progressive(tmp_path):
    def streams(**said: int) -> SimpleNamespace:
        return SimpleNamespace(codec_context=SimpleNamespace(**said))

    source = tmp_path / "old.mkv"
    assert [says_interlaced(av, streams(field_order=order), source) for order in range(6)] == [False] * 2 + [True] * 4
    with pytest.warns(RuntimeWarning, match=r"old\.mkv: PyAV .* does not tell a film's field order"):
        assert not says_interlaced(av, streams(), source)


@pytest.mark.parametrize(("pixels", "transparent"), [("rgba", True), ("rgb24", False)])
def test_transparency_is_left_out_and_told(tmp_path, pixels, transparent):
    with av.open(str(tmp_path / "a.mov"), "w") as out:
        video: Any = out.add_stream("png", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, pixels
        out.mux(video.encode(av.VideoFrame.from_ndarray(noise(32, 32, 3), format="rgb24")))
        out.mux(video.encode(None))
    coarse, *others = upscaled(tmp_path / "a.mov", tmp_path / "sr").remarks
    assert coarse.startswith("its colours become 4:2:0")
    assert others == ["its transparency is left out"] * transparent


@pytest.mark.parametrize(
    ("codec", "suffix", "kept"),
    [("libx264", ".mp4", True), ("libx264", ".mkv", True), ("libsvtav1", ".mp4", True), ("ffv1", ".mkv", False)],
)
def test_the_shape_of_pixels_that_the_container_alone_says_is_kept_or_told(tmp_path, codec, suffix, kept):
    with av.open(str(tmp_path / "a.mov"), "w") as out:
        video: Any = out.add_stream("prores_ks", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv422p10le"
        video.codec_context.sample_aspect_ratio = Fraction(16, 11)
        out.mux(video.encode(av.VideoFrame.from_ndarray(noise(64, 64, 3), format="rgb24")))
        out.mux(video.encode(None))
    target = tmp_path / f"b{suffix}"
    made = upscale_video(Enlarger(), tmp_path / "a.mov", target, lambda: None, Encoding(codec))
    with av.open(str(target)) as reader:
        assert (reader.streams.video[0].sample_aspect_ratio == Fraction(16, 11)) == kept
    assert any("pixels are 16/11 times as wide as high" in each for each in made.remarks) != kept
