"""Choice of encoder, quality and preset; HDR's metadata with those that write it, told with those that do not."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from defian_edge.runtime import video_encoder
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.jobs import plan
from defian_edge.runtime.video import upscale_video
from defian_edge.runtime.video_encoder import ENCODERS, NVENC_SPEEDS, Encoding, require_encoder
from defian_edge.runtime.video_hdr import LIGHT, MASTERING, Hdr
from defian_edge.runtime.video_source import side_data_of
from tests.conftest import noise
from tests.doubles.enlarger import Enlarger

if TYPE_CHECKING:
    from pathlib import Path

av = pytest.importorskip("av", reason="PyAV is not installed")

SOFTWARE = [name for name in ENCODERS if not name.endswith("nvenc")]
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
"""DCI-P3 with a white of D65, 0.0001 to 1000 cd/m2, in x265's writing."""
EXPECTED = Hdr(
    tuple(Fraction(each, 50_000) for each in (34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450)),
    (Fraction(1, 10_000), Fraction(1000)),
    (1000, 400),
)


def write_film(path: Path, pixels: str = "yuv420p", codec: str = "libx264", **options: str) -> Path:
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream(codec, rate=25, options=options)
        video.width, video.height, video.pix_fmt = 96, 64, pixels
        for index in range(4):
            frame = av.VideoFrame.from_ndarray(noise(64, 96, 3, seed=index), format="rgb24")
            out.mux(video.encode(frame.reformat(format=pixels)))
        out.mux(video.encode(None))
    return path


def seen(path: Path) -> tuple[int, str, str, dict[str, bytes]]:
    """Frames, codec, pixel format and the first frame's side data."""
    with av.open(str(path)) as reader:
        context = reader.streams.video[0].codec_context
        frames: list[Any] = list(reader.decode(video=0))
        said = {kind: bytes(data) for kind, data in side_data_of(frames[0]).items()}
        return len(frames), context.codec.canonical_name, context.pix_fmt, said


@pytest.mark.parametrize("name", SOFTWARE)
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
def test_every_encoder_writes_every_container_that_it_names(tmp_path, name, pixels):
    require_encoder(Encoding(name))
    source = write_film(tmp_path / "a.mkv", pixels)
    kinds = {"libx264": "h264", "libx265": "hevc", "libsvtav1": "av1", "ffv1": "ffv1"}
    for suffix in ENCODERS[name].containers:
        made = upscale_video(Enlarger(), source, tmp_path / f"out{suffix}", lambda: None, Encoding(name))
        assert made.losses == ()
        assert seen(tmp_path / f"out{suffix}")[:3] == (4, kinds[name], pixels)


def test_every_encoder_takes_all_of_its_presets_and_its_worst_quality():
    for name in SOFTWARE:
        for preset in ENCODERS[name].presets:
            require_encoder(Encoding(name, None, preset))
        if ENCODERS[name].quality:
            require_encoder(Encoding(name, ENCODERS[name].worst))


def test_a_worse_quality_makes_a_smaller_file(tmp_path):
    source = write_film(tmp_path / "a.mkv")
    sizes = [
        upscale_video(Enlarger(), source, tmp_path / "out.mkv", lambda: None, Encoding("libx264", crf)).written.size
        for crf in (10, 30, 45)
    ]
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("name", ["h264_nvenc", "hevc_nvenc", "av1_nvenc"])
def test_nvenc_gets_its_own_names_and_values_that_ffmpeg_knows(name):
    """The encoder itself needs a GPU; that an option has such a value FFmpeg tells without one, and first."""
    codec = av.Codec(name, "w") if name in av.codecs_available else pytest.skip(f"FFmpeg has no {name} here")
    assert Encoding(name, 23, "p7").options() == {"rc": "vbr", "b": "0", "cq": "23", "preset": "p7"}
    assert {each for each in ENCODERS[name].formats if each} <= {each.name for each in codec.video_formats or ()}
    assert refusal(name, {"preset": "veryslow"}) == "Invalid argument"
    for preset in NVENC_SPEEDS:
        options = Encoding(name, ENCODERS[name].worst, preset).options()
        assert refusal(name, options) in ("", "Operation not permitted", "Generic error in an external library")


def refusal(name: str, options: dict[str, str]) -> str:
    """Why an encoder does not open; empty if it does."""
    context: Any = av.CodecContext.create(name, "w")
    context.width = context.height = 256
    context.pix_fmt, context.time_base, context.options = "yuv420p", Fraction(1, 25), options
    try:
        context.open()
    except av.FFmpegError as error:
        return error.strerror or ""
    return ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("libx266",), "expected one of libx264, libx265"),
        (("libx264", 52), "from 0 to 51 for libx264"),
        (("libx264", -1), "from 0 to 51"),
        (("ffv1", 3), "loses nothing"),
        (("libx264", None, "p7"), "expected one of ultrafast"),
        (("h264_nvenc", None, "veryslow"), "expected one of p1"),
        (("libsvtav1", None, "14"), "expected one of 0, 1"),
        (("ffv1", None, "slow"), "it has none"),
        (("libx264", None, ""), "expected one of ultrafast"),
    ],
)
def test_what_an_encoder_does_not_have_is_refused_at_once(given, words):
    with pytest.raises(DefianError, match=words):
        Encoding(*given)


def test_an_encoder_that_is_not_there_is_refused_with_those_that_are(monkeypatch):
    create = av.CodecContext.create

    def made(name: str, mode: str) -> Any:  # noqa: ANN401
        if name.endswith("nvenc"):
            raise ValueError(name)  # as PyAV's UnknownCodecError is one
        return create(name, mode)

    other = SimpleNamespace(FFmpegError=av.FFmpegError, CodecContext=SimpleNamespace(create=made))
    monkeypatch.setattr(video_encoder, "import_av", lambda: other)
    with pytest.raises(
        DefianError, match=r"hevc_nvenc: .*no such encoder[\s\S]*here: libx264, libx265, libsvtav1, ffv1"
    ):
        require_encoder(Encoding("hevc_nvenc"))


def test_an_encoder_that_cannot_be_opened_is_refused_with_those_that_can():
    if not (error := refusal("h264_nvenc", {})):
        pytest.skip("NVENC works here")
    with pytest.raises(DefianError, match=rf"h264_nvenc: it cannot be opened here \({error}\), which needs an NVIDIA"):
        require_encoder(Encoding("h264_nvenc"))


@pytest.mark.parametrize(
    ("codec", "name", "target"),
    [
        ("libx264", "a.m4v", "a.m4v"),
        ("libx265", "a.m4v", "a.mkv"),
        ("libsvtav1", "a.mov", "a.mkv"),
        ("ffv1", "a.mp4", "a.mkv"),
        ("libx265", "a.mp4", "a.mp4"),
    ],
)
def test_a_container_that_does_not_take_the_codec_becomes_matroska(tmp_path, codec, name, target):
    write_film(tmp_path / "plain.mp4").rename(tmp_path / name)
    [job] = plan([tmp_path / name], tmp_path / "sr", Encoding(codec)).jobs
    assert job.target.name == target
    upscale_video(Enlarger(), job.source, job.target, lambda: None, Encoding(codec))
    assert seen(job.target)[0] == 4


def test_an_encoder_that_takes_no_odd_sides_says_so():
    with pytest.raises(DefianError, match=r"libsvtav1 takes no odd sides, found 99x63"):
        Encoding("libsvtav1").pixel_format(99, 63, deep=False)
    assert Encoding("libx264").pixel_format(99, 63, deep=True) == "yuv444p10le"


def test_a_result_that_the_encoder_does_not_take_is_not_blamed_on_the_source(tmp_path, monkeypatch):
    source = write_film(tmp_path / "a.mkv")
    monkeypatch.setattr(Encoding, "pixel_format", lambda *_, **__: "yuv444p")
    with pytest.raises(DefianError, match=r"its result, 192x128, cannot be written with libsvtav1 into matroska"):
        upscale_video(Enlarger(), source, tmp_path / "sr" / "b.mkv", lambda: None, Encoding("libsvtav1"))
    assert list((tmp_path / "sr").iterdir()) == []


@pytest.mark.parametrize(("name", "kept"), [("libx264", False), ("ffv1", True)])
@pytest.mark.parametrize(
    ("pixels", "codec", "fine"),
    [
        ("yuv444p", "libx264", True),
        ("yuv422p", "libx264", True),
        ("bgr0", "ffv1", True),
        ("yuv420p", "libx264", False),
        ("yuv444p10le", "ffv1", True),
        ("gray", "ffv1", False),
        ("yuv410p", "ffv1", False),
    ],
)
def test_colours_finer_than_4_2_0_are_kept_by_what_loses_nothing_and_told_by_others(
    tmp_path, pixels, codec, fine, name, kept
):
    source = write_film(tmp_path / "a.mkv", pixels, codec)
    made = upscale_video(Enlarger(), source, tmp_path / "out.mkv", lambda: None, Encoding(name))
    assert ("yuv444p" in seen(tmp_path / "out.mkv")[2]) == (fine and kept)
    assert any("4:2:0" in each for each in made.remarks) == (fine and not kept)


def hdr_film(path: Path) -> Path:
    params = f"log-level=none:master-display={DISPLAY}:max-cll=1000,400:hdr10=1"
    return write_film(path, "yuv420p10le", "libx265", **{"x265-params": params})


@pytest.mark.parametrize("name", SOFTWARE)
def test_the_mastering_display_and_the_light_level_are_kept_or_told(tmp_path, name):
    source = hdr_film(tmp_path / "a.mkv")
    assert Hdr.of(seen(source)[3]) == EXPECTED
    made = upscale_video(Enlarger(), source, tmp_path / "out.mkv", lambda: None, Encoding(name))
    found = Hdr.of(seen(tmp_path / "out.mkv")[3])
    if name == "ffv1":
        assert found == Hdr()
        assert {"the content light level is left out", "the mastering display is left out"} <= set(made.remarks)
    else:
        assert found.light == EXPECTED.light
        for values, wanted in ((found.primaries, EXPECTED.primaries), (found.luminance, EXPECTED.luminance)):
            assert [float(each) for each in values] == pytest.approx([float(each) for each in wanted], abs=1e-4)
        assert not any("left out" in each for each in made.remarks)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {MASTERING: b"", LIGHT: b"\1"},
        {MASTERING: bytes(88), LIGHT: bytes(8)},
        {MASTERING: b"\xff" * 88, LIGHT: b"\xff" * 8},
    ],
)
def test_metadata_that_make_no_sense_say_nothing(said):
    assert Hdr.of(said) == Hdr()
    assert Hdr.of(said).options("libx264", {"crf": "16"}) == {"crf": "16"}
    assert Hdr.of(said).kept("libx264") == set()
