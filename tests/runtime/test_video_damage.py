"""Damage that neither the number of packets nor the decoder shows is told; whole films of every format are whole."""

from __future__ import annotations

import struct
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.video import upscale_video
from defian_edge.runtime.video_encoder import Encoding
from defian_edge.runtime.video_source import packets_of
from tests.conftest import noise
from tests.doubles.enlarger import Enlarger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from defian_edge.runtime.video import Film

av = pytest.importorskip("av", reason="PyAV is not installed")

QUICK = {"libx264": {"preset": "ultrafast", "bf": "0"}, "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}}
CODECS = {
    ".mkv": "libx264",
    ".webm": "libvpx-vp9",
    ".ts": "libx264",
    ".flv": "libx264",
    ".mp4": "libx264",
    ".mpg": "mpeg2video",
    ".mxf": "mpeg2video",
    ".wmv": "wmv2",
    ".avi": "ffv1",
}


def film(path: Path, times: Sequence[int] = range(40), codec: str = "", **facts: str) -> Path:
    """Noise at times that count 25ths of a second, with sound where the container is an MPEG programme stream."""
    codec = codec or CODECS[path.suffix]
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream(codec, rate=25, options={"g": "8", **QUICK.get(codec, {})})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        out.metadata.update(facts)
        sound: Any = out.add_stream("mp2", rate=48000) if path.suffix == ".mpg" else None
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(noise(64, 96, 3, seed=index), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            out.mux(video.encode(frame))
            if sound is not None:
                tone = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.int16), format="s16", layout="mono")
                tone.sample_rate, tone.pts, tone.time_base = 48000, 1920 * time, Fraction(1, 48000)
                out.mux(sound.encode(tone))
        for stream in (video, sound):
            if stream is not None:
                out.mux(stream.encode(None))
    return path


def upscaled(source: Path) -> Film:
    target = source.parent / "sr" / f"{source.name}.mkv"
    return upscale_video(Enlarger(), source, target, lambda: None, Encoding(preset="ultrafast"))


@pytest.mark.parametrize("suffix", CODECS)
def test_a_whole_film_of_any_format_is_said_to_be_whole(tmp_path, suffix):
    made = upscaled(film(tmp_path / f"a{suffix}"))
    assert (made.frames, made.losses) == (40, ())


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_a_film_without_a_steady_rate_is_whole(tmp_path, suffix):
    times = np.cumsum([1, 1, 4, 2, 1, 9, 3, 1, 1, 25] * 3).tolist()
    made = upscaled(film(tmp_path / f"a{suffix}", times))
    assert (made.frames, made.losses) == (30, ())


def without_the_middle(content: bytes) -> bytes:
    place = int(len(content) * 0.4)
    return content[:place] + content[place + len(content) // 5 :]


def without_the_end(content: bytes) -> bytes:
    return content[: int(len(content) * 0.92)]


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".mkv", without_the_middle),
        (".mkv", without_the_end),
        (".webm", without_the_middle),
        (".webm", without_the_end),
        (".ts", without_the_middle),
        (".flv", without_the_middle),
        (".mxf", without_the_middle),
        (".mxf", without_the_end),
        (".wmv", without_the_middle),
        (".wmv", without_the_end),
    ],
)
def test_a_film_that_lacks_a_piece_says_so(tmp_path, suffix: str, damage: Callable[[bytes], bytes]):
    path = film(tmp_path / f"a{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    made = upscaled(path)
    assert 0 < made.frames < 40
    assert made.losses


def test_pictures_that_fail_their_checksum_are_told(tmp_path):
    path = film(tmp_path / "a.mkv", codec="ffv1")
    assert upscaled(path).losses == ()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    made = upscaled(path)
    assert made.frames == 40
    assert made.losses == ("1 parts of pictures fail their checksum",)


def test_frames_that_a_decoder_drops_without_an_error_are_told(tmp_path, monkeypatch):
    from defian_edge.runtime import video_source

    path = film(tmp_path / "a.mkv")
    plain = video_source.FilmReader._decoded
    seen: list[int] = []

    def forgetful(reader: Any, packet: Any) -> list[Any]:  # noqa: ANN401
        frames = plain(reader, packet)
        seen.extend(frame.pts for frame in frames)
        return [frame for frame in frames if frame.pts != seen[min(len(seen) - 1, 20)] or len(seen) < 21]

    monkeypatch.setattr(video_source.FilmReader, "_decoded", forgetful)
    assert upscaled(path).losses == ("1 packets gave no picture",)


def test_joined_films_are_done_and_sound_that_runs_back_is_told(tmp_path):
    """As the parts of a disc put behind each other: times begin again with the second."""
    content = film(tmp_path / "a.mpg").read_bytes()
    (tmp_path / "b.mpg").write_bytes(content + content)
    made = upscaled(tmp_path / "b.mpg")
    assert made.frames == 80
    [loss] = made.losses
    assert "packets of sound or subtitles do not fit in time" in loss


def test_metadata_that_are_no_utf_8_are_read_as_latin_1(tmp_path):
    path = film(tmp_path / "a.avi", title="Caf_ au lait")
    path.write_bytes(path.read_bytes().replace(b"Caf_", b"Caf\xe9"))
    assert upscaled(path).losses == ()
    with av.open(str(tmp_path / "sr" / "a.avi.mkv")) as reader:
        assert reader.metadata["title"] == "Café au lait"


def test_a_film_without_a_decoder_is_refused_with_its_name(tmp_path):
    path = film(tmp_path / "a.avi")
    path.write_bytes(path.read_bytes().replace(b"FFV1", b"QQQQ"))
    with pytest.raises(DefianError, match=r"a\.avi: FFmpeg has no decoder for its film"):
        upscaled(path)


def test_a_stream_that_begins_in_the_middle_ends_no_reading():
    """PyAV has made no object for it, and asks for one at the end."""

    class Reader:
        def demux(self, _: object) -> Iterator[str]:
            yield "packet"
            raise IndexError("list index out of range")

    assert list(packets_of(Reader())) == ["packet"]


def test_ffmpegs_log_is_as_it_was_and_other_threads_are_not_asked(tmp_path):
    path = film(tmp_path / "a.mkv")
    path.write_bytes(without_the_middle(path.read_bytes()))
    before = (av.logging.get_level(), av.logging.get_skip_repeated())
    made: list[Film] = []
    other = threading.Thread(target=lambda: made.append(upscaled(path)))
    other.start()
    other.join()
    assert made[0].losses
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before


def remuxed(source: Path, target: Path, start: int = 0, **options: str) -> Path:
    """The same packets in another file, some seconds later."""
    with av.open(str(source)) as reader, av.open(str(target), "w", container_options=options) as writer:
        copy = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                later = int(start / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, copy
                writer.mux(packet)
    return target


def test_a_transport_stream_that_leaves_single_frames_out_is_whole(tmp_path):
    """As telephones and screen recorders write it; what is lost on the way shows in its counters."""
    made = upscaled(film(tmp_path / "a.ts", [time for time in range(41) if time != 20]))
    assert (made.frames, made.losses) == (40, ())


@pytest.mark.parametrize("start", [0, 300])
def test_transport_streams_put_behind_each_other_are_whole(tmp_path, start):
    """As the parts of a stream from the web are: their counters start anew, with the same times or later ones."""
    first = film(tmp_path / "a.ts")
    second = remuxed(first, tmp_path / "b.ts", start)
    (tmp_path / "c.ts").write_bytes(first.read_bytes() + second.read_bytes())
    made = upscaled(tmp_path / "c.ts")
    assert (made.frames, made.losses) == (80, ())


def test_a_second_recording_behind_the_first_is_no_gap(tmp_path):
    first = film(tmp_path / "a.mpg")
    second = film(tmp_path / "b.mpg", range(10_000, 10_040))
    (tmp_path / "c.mpg").write_bytes(first.read_bytes() + second.read_bytes())
    assert (upscaled(tmp_path / "c.mpg").losses) == ()


@pytest.mark.parametrize("suffix", [".mkv", ".flv", ".mp4", ".mov"])
def test_a_recording_that_begins_late_is_whole(tmp_path, suffix):
    """The header of some formats says when a film ends, that of others how long it is."""
    late = remuxed(film(tmp_path / "a.mp4"), tmp_path / f"late{suffix}", 4000)
    late.write_bytes(late.read_bytes().replace(b"DURATION", b"ANOTHER_"))  # a tag, which not every program writes
    made = upscaled(late)
    assert (made.frames, made.losses) == (40, ())


def test_empty_steps_of_an_avi_file_are_no_lost_frames(tmp_path):
    made = upscaled(film(tmp_path / "a.avi", [0, 1, 2, 5, 6, 9, 10], "mpeg4"))
    assert (made.frames, made.losses) == (7, ())


@pytest.mark.parametrize(("more", "loss"), [(1, ()), (3, ("the header promises 43 frames, the file holds 40",))])
def test_of_an_avi_file_one_empty_step_may_be_the_last(tmp_path, more: int, loss: tuple[str, ...]):
    path = film(tmp_path / "a.avi")
    content = bytearray(path.read_bytes())
    place = content.index(b"vids") + 32
    assert struct.unpack_from("<I", content, place) == (40,)
    struct.pack_into("<I", content, place, 40 + more)
    path.write_bytes(content)
    assert upscaled(path).losses == loss


def test_a_header_that_was_written_before_the_end_was_known_promises_nothing(tmp_path):
    with (tmp_path / "a.avi").open("wb") as stream:
        path = film(tmp_path / "whole.avi")
        with av.open(str(path)) as reader, av.open(Pipe(stream), "w", format="avi") as writer:
            copy = writer.add_stream_from_template(reader.streams.video[0])
            for packet in reader.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copy
                    writer.mux(packet)
    made = upscaled(tmp_path / "a.avi")
    assert (made.frames, made.losses) == (40, ())


class Pipe:
    """A file that can only be written on."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401
        self.write = stream.write


def test_frames_that_a_telephone_has_cut_away_are_not_missed(tmp_path):
    """It leaves them in the file, and writes into its list of edits what is shown."""
    path = film(tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 12
    length, start = struct.unpack_from(">II", content, place)
    with av.open(str(path)) as reader:
        base = reader.streams.video[0].time_base
    struct.pack_into(">II", content, place, length // 4, start + int(Fraction(15, 25) / base))
    path.write_bytes(content)
    made = upscaled(path)
    assert (made.frames, made.losses) == (10, ())
