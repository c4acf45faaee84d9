"""A film that is done in parts is the film that is done in one piece."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defian_edge.runtime.video import upscale_part, upscale_video
from defian_edge.runtime.video_encoder import Encoding
from defian_edge.runtime.video_parts import SUFFIX, Part, UncutError, in_order, parts_of
from tests.conftest import noise
from tests.doubles.enlarger import Enlarger

av = pytest.importorskip("av", reason="PyAV is not installed")
from defian_edge.runtime.video_join import join_film  # noqa: E402 - after PyAV is known to be there

if TYPE_CHECKING:
    from pathlib import Path

FRAMES, RATE = 40, 25
LEAST_GAIN = {"libx264": -0.8, "libx265": 0.0}
"""PSNR in dB that parts of a few frames have more than the film in one piece; -0.45 and 0.13 were found,
and libx264's depends on its threads."""


def write_film(path: Path, *, frames: int = FRAMES, gop: int = 8, codec: str = "libx264", **options: str) -> Path:
    """Pictures that move, with B-frames, sound, chapters, a title and in Matroska subtitles; the rate varies."""
    still = noise(96, 128, 3).repeat(4, axis=0).repeat(4, axis=1)
    seconds = frames // RATE + 1
    lines = path.with_name(f"{path.stem}.srt")
    lines.write_text("".join(f"{n + 1}\n00:00:{n:02},100 --> 00:00:{n:02},900\nline {n}\n\n" for n in range(seconds)))
    with av.open(str(path), "w") as out, av.open(str(lines)) as said:
        out.metadata["title"] = "a film"
        how = {"crf": "10", "bf": "2"} if codec == "libx264" else {}
        video: Any = out.add_stream(codec, rate=RATE, options=how | options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.gop_size = gop
        video.codec_context.time_base = Fraction(1, 1000)
        audio: Any = out.add_stream("aac", rate=48000, layout="mono")
        audio.metadata["language"] = "deu"
        bounds = [0, 20 * frames, 40 * frames]
        out.set_chapters(
            [
                {"id": n + 1, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": f"part {n}"}}
                for n, (a, b) in enumerate(itertools.pairwise(bounds))
            ]
        )
        subtitles: Any = out.add_stream_from_template(said.streams[0]) if path.suffix == ".mkv" else None
        if subtitles is not None:
            subtitles.metadata["language"] = "fra"
            for packet in said.demux(said.streams[0]):
                if packet.dts is not None:
                    packet.stream = subtitles
                    out.mux(packet)
        for index in range(frames):
            picture = np.ascontiguousarray(still[2 * index : 2 * index + 48, 3 * index : 3 * index + 64])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = 40 * index + 7 * (index % 3), Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for index in range(frames * 48000 // RATE // 1024):
            tone = np.sin(np.arange(1024) / 20 + index).astype(np.float32)[None]
            samples = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 48000, 1024 * index
            out.mux(audio.encode(samples))
        out.mux(audio.encode(None))
    lines.unlink()
    return path


def read_film(path: Path) -> tuple[list[np.ndarray], list[Fraction], list[bytes], dict[str, Any]]:
    """Frames, their times, packets of sound, and facts; subtitles and chapters are among them."""
    frames, times = [], []
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        facts = {
            "title": source.metadata.get("title"), "codec": stream.codec_context.name,
            "rate": stream.average_rate,
            "duration": round(Fraction(source.duration or 0, 1_000_000) * 100), "tag": stream.codec_context.codec_tag,
            "colours": (int(stream.codec_context.colorspace), int(stream.codec_context.color_range)),
            "chapters": [
                (each["metadata"], each["start"] * each["time_base"], each["end"] * each["time_base"])
                for each in source.chapters()
            ],
            "languages": [each.metadata.get("language") for each in source.streams],
        }  # fmt: skip
        for frame in source.decode(stream):
            frames.append(frame.to_ndarray(format="rgb24"))
            assert frame.pts is not None
            assert frame.time_base is not None
            times.append(frame.pts * frame.time_base)
    with av.open(str(path)) as source:
        sound = [bytes(packet) for packet in source.demux(source.streams.audio[0])]
    with av.open(str(path)) as source:
        facts["subtitles"] = [
            (bytes(packet), packet.pts and packet.pts * packet.time_base, packet.duration)
            for stream in source.streams.subtitles
            for packet in source.demux(stream)
        ]
    return frames, times, sound, facts


def in_parts(source: Path, target: Path, encoding: Encoding, least: int = 10) -> tuple[Part, ...]:
    parts = parts_of(source, least)
    files = [target.parent / part.name(target) for part in parts]
    said: set[str] = set()
    for part, file in zip(parts, files, strict=True):
        said.update(upscale_part(Enlarger(), source, file, part, encoding).side_data)
    film = join_film(source, files, target, (2, encoding), said)
    assert film.losses == ()
    assert film.frames == sum(part.frames for part in parts)
    return parts


def psnr(these: list[np.ndarray], those: list[np.ndarray]) -> float:
    error = np.mean([np.mean((a.astype(float) - b) ** 2) for a, b in zip(these, those, strict=True)])
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize(
    ("kind", "options"),
    [(".mp4", {}), (".mkv", {}), (".mkv", {"x264-params": "open-gop=1:bframes=3"}), (".mp4", {"bf": "0"})],
    ids=["mp4", "mkv", "open groups", "no b-frames"],
)
def test_without_loss_every_frame_and_time_and_all_sound_is_that_of_the_film_in_one_piece(tmp_path, kind, options):
    source = write_film(tmp_path / f"in{kind}", **options)
    whole, joined = tmp_path / "whole.mkv", tmp_path / "joined.mkv"
    upscale_video(Enlarger(), source, whole, lambda: None, Encoding("ffv1"))
    parts = in_parts(source, joined, Encoding("ffv1"))
    assert len(parts) > 2
    expected, found = read_film(whole), read_film(joined)
    assert len(found[0]) == len(expected[0]) == FRAMES
    assert all(np.array_equal(a, b) for a, b in zip(found[0], expected[0], strict=True))
    assert found[1:] == expected[1:]
    assert [said["title"] for said, _, _ in found[3]["chapters"]] == ["part 0", "part 1"]
    assert [said for said, _, _ in found[3]["subtitles"] if said] == ([b"line 0", b"line 1"] if kind == ".mkv" else [])


@pytest.mark.parametrize("kind", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_encoded_anew_the_parts_lose_no_more_than_the_film_in_one_piece(tmp_path, kind, codec):
    source = write_film(tmp_path / f"in{kind}")
    whole, joined = tmp_path / f"whole{kind}", tmp_path / f"joined{kind}"
    encoding = Encoding(codec, preset="ultrafast")
    upscale_video(Enlarger(), source, whole, lambda: None, encoding)
    least = 10
    in_parts(source, joined, encoding, least)
    expected, found = read_film(whole), read_film(joined)
    pictures = [frame.repeat(2, axis=0).repeat(2, axis=1) for frame in read_film(source)[0]]
    gain = psnr(found[0], pictures) - psnr(expected[0], pictures)
    print(f"{codec} {kind}: in parts of {least} to 16 frames {gain:+.2f} dB")
    assert LEAST_GAIN[codec] < gain < 0.2
    assert found[1:] == expected[1:]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_in_parts_of_more_than_two_seconds_psnr_is_that_of_the_film_in_one_piece(tmp_path, codec):
    """At the preset that is the default; what rate control begins anew with every part evens out."""
    source, encoding = write_film(tmp_path / "in.mkv", frames=140), Encoding(codec)
    whole, joined = tmp_path / "whole.mkv", tmp_path / "joined.mkv"
    upscale_video(Enlarger(), source, whole, lambda: None, encoding)
    assert [part.frames for part in in_parts(source, joined, encoding, 64)] == [64, 64, 12]
    pictures = [frame.repeat(2, axis=0).repeat(2, axis=1) for frame in read_film(source)[0]]
    gain = psnr(read_film(joined)[0], pictures) - psnr(read_film(whole)[0], pictures)
    print(f"{codec}: in parts of 64 frames {gain:+.3f} dB")
    assert abs(gain) < 0.05


def test_parts_begin_at_key_frames_and_together_have_every_frame(tmp_path):
    source = write_film(tmp_path / "in.mkv", frames=41, gop=8)
    parts = parts_of(source, 16)
    assert [part.frames for part in parts] == [16, 16, 9]
    assert [part.index for part in parts] == [0, 1, 2]
    assert parts[-1].end is None
    assert [part.end for part in parts[:-1]] == [part.start for part in parts[1:]]
    assert len(parts_of(source, 100)) == 1


def test_what_cannot_be_cut_is_said(tmp_path):
    with pytest.raises(UncutError, match="has no times, or is interlaced"):
        parts_of(write_film(tmp_path / "in.avi"))
    source = write_film(tmp_path / "in.mkv")
    first, *_ = parts_of(source, 10)
    wrong = Part(0, first.start, first.end, first.frames + 1)
    with pytest.raises(UncutError, match=rf"expected {wrong.frames} frames from 0, found {first.frames}"):
        upscale_part(Enlarger(), source, tmp_path / wrong.name(tmp_path / "x.mkv"), wrong, Encoding("ffv1"))
    assert list(tmp_path.glob(f"*{SUFFIX}")) == [], "nothing half is left"


@given(st.lists(st.integers(0, 10_000), unique=True, min_size=1, max_size=30), st.integers(0, 4))
def test_times_of_decoding_rise_and_none_is_later_than_that_of_display(times, reorder):
    shown = sorted(times)
    decoded = [shown[i] for i in sorted(range(len(shown)), key=lambda i: (i // (reorder + 1), -i))]
    found = in_order(decoded)
    assert all(a < b for a, b in itertools.pairwise(found))
    assert all(dts <= pts for dts, pts in zip(found, decoded, strict=True))
