"""Video: every frame, its time, the colours and the sound come through; a broken file leaves nothing."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.first_size import first_size
from defian_edge.runtime.jobs import Job
from defian_edge.runtime.video import upscale_video
from defian_edge.runtime.video_times import FrameTimes
from tests.doubles.enlarger import Enlarger

if TYPE_CHECKING:
    from pathlib import Path

av = pytest.importorskip("av", reason="PyAV is not installed")

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (250, 250, 250), (8, 8, 8))
ROUNDING = 3
"""What 8-bit conversions lose; a wrong matrix or range shifts one of the colours by 10 and more."""
TIMES = (0, 40, 80, 200, 240, 1000)
"""Milliseconds; a frame rate that varies."""


@dataclass
class Seen:
    """What a video holds."""

    frames: list[np.ndarray] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    tags: tuple[int, int] = (0, 0)
    rate: Fraction = Fraction(0)
    samples: int = 0
    audio_start: float = -1.0
    sound: list[bytes] = field(default_factory=list)


def write_video(path: Path, matrix: int = 1, colour_range: int = 1, *, size: int = 64, sound: bool = True) -> None:
    """One flat colour a frame."""
    names = {1: "ITU709", 5: "ITU601"}
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=25, options={"crf": "1"})
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        context = video.codec_context
        context.time_base, context.colorspace, context.color_range = Fraction(1, 1000), matrix, colour_range
        audio: Any = out.add_stream("aac", rate=48000, layout="mono") if sound else None
        for colour, time in zip(COLOURS, TIMES, strict=True):
            rgb = av.VideoFrame.from_ndarray(np.full((size, size, 3), colour, np.uint8), format="rgb24")
            frame = rgb.reformat(
                format="yuv420p",
                src_color_range=2,
                dst_color_range=colour_range,
                dst_colorspace=names[5 if matrix == 2 else matrix],
            )
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for index in range(48 if sound else 0):
            tone = np.sin(np.arange(1024) / 20 + index).astype(np.float32)[None]
            samples = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 48000, 1024 * index
            out.mux(audio.encode(samples))
        if sound:
            out.mux(audio.encode(None))


def read_video(path: Path) -> Seen:
    """Frames as RGB, by the matrix and range that the file names."""
    seen = Seen()
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        seen.rate = stream.average_rate or seen.rate
        seen.tags = (int(stream.codec_context.colorspace), int(stream.codec_context.color_range))
        for frame in source.decode(stream):
            matrix = "ITU709" if seen.tags[0] == 1 else "ITU601"
            rgb = frame.reformat(
                format="rgb24", src_colorspace=matrix, src_color_range=seen.tags[1] or 1, dst_color_range=2
            )
            seen.frames.append(rgb.to_ndarray())
            assert frame.pts is not None
            assert frame.time_base is not None
            seen.times.append(float(frame.pts * frame.time_base))
    with av.open(str(path)) as source:
        for frame in source.decode(audio=0) if source.streams.audio else ():
            seen.audio_start = frame.time if seen.samples == 0 and frame.time is not None else seen.audio_start
            seen.samples += frame.samples
    with av.open(str(path)) as source:
        seen.sound = [bytes(packet) for packet in source.demux(*source.streams.audio)] if source.streams.audio else []
    return seen


def mean_colour(frame: np.ndarray) -> np.ndarray:
    return frame.reshape(-1, 3).mean(axis=0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("matrix", "colour_range"), [(1, 1), (1, 2), (5, 1), (5, 2)])
def test_frames_times_colours_and_sound_come_through(tmp_path, suffix, matrix, colour_range):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    write_video(source, matrix, colour_range)
    steps: list[int] = []
    assert upscale_video(Enlarger(), source, target, lambda: steps.append(1)).frames == len(steps) == 6
    before, after = read_video(source), read_video(target)
    assert after.tags == before.tags == (matrix, colour_range)
    assert [frame.shape for frame in after.frames] == [(128, 128, 3)] * 6
    for frame, original in zip(after.frames, before.frames, strict=True):
        assert np.abs(mean_colour(frame) - mean_colour(original)).max() <= ROUNDING
    np.testing.assert_allclose(np.subtract(after.times, after.times[0]), np.array(TIMES) / 1000, atol=0.0015)
    assert after.samples == before.samples > 40_000
    assert after.sound == before.sound, "copied, not encoded again"
    assert after.audio_start == pytest.approx(before.audio_start, abs=0.002)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25), Fraction(60000, 1001)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_the_frame_rate_and_the_order_of_frames_stay_as_they_were(tmp_path, rate, suffix):
    """The source has B-frames, so that its packets come in another order than its frames."""
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    with av.open(str(source), "w") as out:
        video: Any = out.add_stream("libx264", rate=rate, options={"crf": "1", "bf": "3"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for index in range(24):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * index, np.uint8), format="rgb24")
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    assert upscale_video(Enlarger(), source, target, lambda: None).frames == 24
    before, after = read_video(source), read_video(target)
    assert after.rate == before.rate == pytest.approx(rate, rel=1e-3)
    np.testing.assert_allclose(np.diff(after.times), float(1 / rate), atol=0.0011)
    assert [round(frame.mean() / 10) for frame in after.frames] == [round(frame.mean() / 10) for frame in before.frames]
    assert np.all(np.diff([frame.mean() for frame in after.frames]) > 5)


def test_a_video_that_names_no_matrix_is_tagged_with_the_one_it_was_read_by(tmp_path):
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    write_video(source, matrix=2, sound=False)
    upscale_video(Enlarger(), source, target, lambda: None)
    seen = read_video(target)
    assert seen.tags == (5, 1)
    assert np.abs(mean_colour(seen.frames[0]) - COLOURS[0]).max() <= 2 * ROUNDING


def test_a_result_with_an_odd_side_keeps_its_size(tmp_path):
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    with av.open(str(source), "w") as out:
        video: Any = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 33, 21, "yuv444p"
        out.mux(video.encode(av.VideoFrame.from_ndarray(np.full((21, 33, 3), 90, np.uint8), format="rgb24")))
        out.mux(video.encode(None))
    upscale_video(Enlarger(scale=3), source, target, lambda: None)
    assert read_video(target).frames[0].shape == (63, 99, 3)


@pytest.mark.parametrize("content", [b"no video", b""])
def test_a_broken_video_is_named_and_leaves_nothing(tmp_path, content):
    source = tmp_path / "in.mp4"
    source.write_bytes(content)
    with pytest.raises(DefianError, match=r"in\.mp4"):
        upscale_video(Enlarger(), source, tmp_path / "sr" / "out.mp4", lambda: None)
    assert not list((tmp_path / "sr").iterdir())


def test_sound_that_matroska_does_not_take_either_is_to_become_another(tmp_path):
    """As of Windows Media, old telephones and cameras: FFmpeg would write it, PyAV does not."""
    source = tmp_path / "in.wmv"
    with av.open(str(source), "w") as out:
        video: Any = out.add_stream("wmv2", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio: Any = out.add_stream("wmav2", rate=44100, layout="mono", bit_rate=96_000)
        out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        out.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        samples.sample_rate, samples.pts = 44100, 0
        out.mux(audio.encode(samples))
        out.mux(audio.encode(None))
    with pytest.raises(DefianError, match=r"in\.wmv: its sound does not fit[\s\S]*-c:a flac in\.flac\.mkv"):
        upscale_video(Enlarger(), source, tmp_path / "sr" / "in.mkv", lambda: None)
    assert not list((tmp_path / "sr").iterdir())


def test_a_failure_in_the_middle_leaves_nothing(tmp_path):
    source = tmp_path / "in.mp4"
    write_video(source, sound=False)

    class Failing(Enlarger):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            if len(self.seen) == 3:
                raise DefianError("the device is gone")
            return super().__call__(images)

    with pytest.raises(DefianError, match="device is gone"):
        upscale_video(Failing(), source, tmp_path / "sr" / "out.mp4", lambda: None)
    assert not list((tmp_path / "sr").iterdir())


@pytest.mark.parametrize("obstacle", ["a file for a folder", "a folder for a file"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, obstacle):
    source = tmp_path / "in.mp4"
    write_video(source, sound=False)
    target = tmp_path / "sr" / "out.mp4"
    if obstacle == "a file for a folder":
        (tmp_path / "sr").touch()
    else:
        (target / "x").mkdir(parents=True)
    with pytest.raises(DefianError, match=r"Cannot write .*out\.mp4: "):
        upscale_video(Enlarger(), source, target, lambda: None)
    left = list((tmp_path / "sr").iterdir()) if (tmp_path / "sr").is_dir() else []
    assert left in ([], [target])


def test_a_file_of_sound_alone_is_refused(tmp_path):
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as out:
        audio: Any = out.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    with pytest.raises(DefianError, match="holds no video"):
        upscale_video(Enlarger(), source, tmp_path / "out.mp4", lambda: None)


def test_an_avi_with_frames_out_of_order_keeps_their_order_and_rate(tmp_path):
    """AVI has no times of display; those that FFmpeg gives its frames go back and forth."""
    source, target = tmp_path / "in.avi", tmp_path / "out.mkv"
    with av.open(str(source), "w") as out:
        video: Any = out.add_stream("libx264", rate=25, options={"crf": "1", "bf": "3"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for index in range(24):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * index, np.uint8), format="rgb24")
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    with av.open(str(source)) as reader:
        assert np.diff([frame.pts or 0 for frame in reader.decode(video=0)]).min() < 0
    assert upscale_video(Enlarger(), source, target, lambda: None).frames == 24
    seen = read_video(target)
    np.testing.assert_allclose(seen.times, np.arange(24) / 25, atol=0.0011)
    assert np.all(np.diff([frame.mean() for frame in seen.frames]) > 5)


@pytest.mark.parametrize(
    ("pts", "expected"),
    [
        ([7, 47, 200], [7, 47, 200]),
        ([None, None, 100], [0, 40, 100]),
        ([80, None, None, 200, 160], [80, 120, 160, 200, 240]),
        ([0, 0, 0], [0, 40, 80]),
    ],
)
def test_a_frame_without_a_time_comes_one_frame_after_the_last(pts, expected):
    times = FrameTimes(Fraction(25), Fraction(1, 1000), has_times=True)
    assert [times.next(SimpleNamespace(pts=each, dts=None)) for each in pts] == expected


@pytest.mark.parametrize(
    ("degrees", "matrix", "turns", "mirrored"),
    [
        (90, (0, 1, -1, 0), -1, False),
        (180, (-1, 0, 0, -1), 2, False),
        (270, (0, -1, 1, 0), 1, False),
        (0, (1, 0, 0, 1), 0, False),
        (0, (-1, 0, 0, 1), 0, True),
        (90, (0, 1, 1, 0), -1, True),
        (180, (1, 0, 0, -1), 2, True),
        (270, (0, -1, -1, 0), 1, True),
        (45, (1, 1, -1, 1), 0, False),
    ],
)
def test_a_video_that_players_turn_or_mirror_is_turned_or_mirrored(tmp_path, degrees, matrix, turns, mirrored):
    """The matrix as a telephone held upright writes it (90: clockwise); in the result there is none."""
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24] = 250
    with av.open(str(source), "w") as out:
        video: Any = out.add_stream("libx264", rate=25, options={"crf": "1"})
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
    content = bytearray(source.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    source.write_bytes(content)
    upscale_video(Enlarger(), source, target, lambda: None)
    [frame] = read_video(target).frames
    shown = np.rot90(picture, turns)[:, :: -1 if mirrored else 1]
    expected = shown.repeat(2, axis=0).repeat(2, axis=1)
    assert frame.shape == expected.shape, degrees
    assert first_size([Job(source, target, is_video=True)]) == shown.shape[:2]
    assert np.abs(frame.astype(int) - expected).mean() < 8
    with av.open(str(target)) as reader:
        stream = reader.streams.video[0]
        assert stream.sample_aspect_ratio == (Fraction(3, 4) if turns % 2 else Fraction(4, 3))
        assert next(reader.decode(stream)).rotation == 0


def test_a_container_that_does_not_take_its_own_sound_is_named_with_the_way_out(tmp_path):
    """Films called .m4v that hold MP3 play everywhere, and FFmpeg writes none."""
    source = tmp_path / "in.m4v"
    with av.open(str(source), "w", format="mp4") as out:
        video: Any = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio: Any = out.add_stream("libmp3lame", rate=48000, layout="mono")
        out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        out.mux(video.encode(None))
        kind = audio.codec_context.format.name
        silence = np.zeros((1, 1152), {"s16p": np.int16, "s32p": np.int32, "fltp": np.float32}[kind])
        samples = av.AudioFrame.from_ndarray(silence, format=kind, layout="mono")
        samples.sample_rate, samples.pts = 48000, 0
        out.mux(audio.encode(samples))
        out.mux(audio.encode(None))
    with pytest.raises(DefianError, match=r"in\.m4v: its sound does not fit[\s\S]*-c copy in\.mkv"):
        upscale_video(Enlarger(), source, tmp_path / "sr" / "out.m4v", lambda: None)
    assert not list((tmp_path / "sr").iterdir())
