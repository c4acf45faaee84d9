"""What a film can be encoded with: FFmpeg's encoders, how each names its quality, and whether it is there."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from .arguments import shown
from .errors import DefianError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MATROSKA, MP4, QUICKTIME, IPOD = ".mkv", ".mp4", ".mov", ".m4v"
FORMATS = {MP4: "mp4", MATROSKA: "matroska", QUICKTIME: "mov", IPOD: "ipod"}
"""FFmpeg's names of the containers."""
SPEEDS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
NVENC_SPEEDS = ("p1", "p2", "p3", "p4", "p5", "p6", "p7", "fast", "medium", "slow")
PROBE_SIDE = 256
"""Pixels; NVENC takes no less than about 150."""


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg's.

    Attributes:
        containers: suffixes of what takes its films; others become ``.mkv``.
        formats: pixel formats for 8 bits, for 10, and both again where a side is odd; empty for none.
        quality: its option for constant quality, where less is better; empty if it loses nothing.
        worst: the largest value of it.
        usual: value of ``--crf`` and ``--preset`` where none is given.
        presets: which there are; empty if it has none.
        always: options that are always set.
        says_aspect: whether its packets say the shape of a pixel.
        tag: the four letters by which an MP4 or QuickTime file names it, where FFmpeg's are not the usual ones.
    """

    containers: frozenset[str]
    formats: tuple[str, str, str, str]
    quality: str = "crf"
    worst: int = 51
    usual: tuple[float, str] = (16, "medium")
    presets: tuple[str, ...] = SPEEDS
    always: Mapping[str, str] = field(default_factory=dict)
    tag: str = ""
    says_aspect: bool = True

    @property
    def lossless(self) -> bool:
        """Whether it keeps every frame as it is given."""
        return not self.quality


_X26 = ("yuv420p", "yuv420p10le", "yuv444p", "yuv444p10le")
_NVENC = ("yuv420p", "p010le", "yuv444p", "")
_MOST, _ALL = frozenset({MATROSKA, MP4, QUICKTIME}), frozenset(FORMATS)
_CONSTANT = {"rc": "vbr", "b": "0"}
ENCODERS: dict[str, Encoder] = {
    "libx264": Encoder(_ALL, _X26),
    "libx265": Encoder(_MOST, _X26, usual=(18, "medium"), always={"x265-params": "log-level=none"}, tag="hvc1"),
    "libsvtav1": Encoder(
        frozenset({MATROSKA, MP4}),
        ("yuv420p", "yuv420p10le", "", ""),
        worst=63,
        usual=(20, "8"),
        presets=tuple(map(str, range(14))),
        says_aspect=False,
    ),
    "ffv1": Encoder(
        frozenset({MATROSKA}), _X26, "", 0, (0, ""), (), {"level": "3", "slicecrc": "1"}, says_aspect=False
    ),
    "h264_nvenc": Encoder(_ALL, ("yuv420p", "", "yuv444p", ""), "cq", 51, (19, "p5"), NVENC_SPEEDS, _CONSTANT),
    "hevc_nvenc": Encoder(_MOST, _NVENC, "cq", 51, (20, "p5"), NVENC_SPEEDS, _CONSTANT, "hvc1"),
    "av1_nvenc": Encoder(
        frozenset({MATROSKA, MP4}),
        ("yuv420p", "p010le", "", ""),
        "cq",
        51,
        (24, "p5"),
        NVENC_SPEEDS,
        _CONSTANT,
        says_aspect=False,
    ),
}


@dataclass(frozen=True)
class Encoding:
    """How films are encoded.

    Attributes:
        codec: one of ``ENCODERS``.
        crf: constant quality, less is better and larger; None for the encoder's usual one.
        preset: how much time it takes for how small a file; None for the encoder's usual one.

    Raises:
        DefianError: there is no such encoder, or it has no such quality or preset.
    """

    codec: str = "libx264"
    crf: float | None = None
    preset: str | None = None

    def __post_init__(self) -> None:
        if self.codec not in ENCODERS:
            raise DefianError(f"--video-codec {shown(self.codec)}: expected one of {', '.join(ENCODERS)}.")
        found = self.encoder
        if self.crf is not None and found.lossless:
            raise DefianError(f"--crf {self.crf:g}: {self.codec} loses nothing and takes none.", "Leave --crf out.")
        if self.crf is not None and not 0 <= self.crf <= found.worst:
            raise DefianError(f"--crf {self.crf:g}: expected a number from 0 to {found.worst} for {self.codec}.")
        if self.preset is not None and self.preset not in found.presets:
            among = f"expected one of {', '.join(found.presets)}" if found.presets else "it has none"
            raise DefianError(f"--preset {shown(self.preset)}: {among} for {self.codec}.")

    @property
    def encoder(self) -> Encoder:
        """The encoder."""
        return ENCODERS[self.codec]

    def options(self) -> dict[str, str]:
        """What FFmpeg is given."""
        found = self.encoder
        crf, preset = found.usual
        options = dict(found.always)
        if not found.lossless:
            options[found.quality] = f"{crf if self.crf is None else self.crf:g}"
        if found.presets:
            options["preset"] = preset if self.preset is None else self.preset
        return options

    def pixel_format(self, width: int, height: int, *, deep: bool, full_chroma: bool = False) -> str:
        """The format of pixels for a picture of a size.

        4:2:0 where both sides are even, which is what players take; 4:4:4 where one is odd, and of a film whose chroma
        is finer than 4:2:0 by an encoder that loses nothing. 10 bits where it can.

        Args:
            width: in pixels.
            height: in pixels.
            deep: the film has more than 8 bits a channel.
            full_chroma: its chroma is finer than 4:2:0.

        Raises:
            DefianError: the encoder takes no odd sides.
        """
        full = bool(width % 2 or height % 2) or (full_chroma and self.encoder.lossless)
        eight, ten = self.encoder.formats[2 * full : 2 * full + 2]
        if not eight:
            raise DefianError(
                f"{self.codec} takes no odd sides, found {width}x{height}.", "Take --video-codec libx264 or libx265."
            )
        return ten if deep and ten else eight


def import_av() -> Any:  # noqa: ANN401 - an optional package
    """The ``av`` module.

    Raises:
        MissingPackageError: PyAV is not installed.
    """
    os.environ.setdefault("SVT_LOG", "1")  # else SVT-AV1 writes its settings to the terminal
    try:
        import av
    except ImportError as error:
        raise MissingPackageError("av", "video", "Upscaling video") from error
    return av


def require_encoder(encoding: Encoding) -> None:
    """Prove that an encoder works here, by opening it, before any long work starts.

    Raises:
        DefianError: PyAV is missing, or the FFmpeg in it has no such encoder, or it cannot be opened.
    """
    av = import_av()
    error = _why_not(av, encoding)
    if error:
        others = [name for name in ENCODERS if name != encoding.codec and not _why_not(av, Encoding(name))]
        raise DefianError(
            f"--video-codec {encoding.codec}: {error}.", f"These work here: {', '.join(others) or 'none'}."
        )


def _why_not(av: Any, encoding: Encoding) -> str:  # noqa: ANN401
    """Why an encoder does not work here; empty if it does."""
    try:
        context = av.CodecContext.create(encoding.codec, "w")
    except ValueError:  # PyAV's UnknownCodecError
        return "the FFmpeg in PyAV has no such encoder"
    context.width = context.height = PROBE_SIDE
    context.pix_fmt, context.time_base = encoding.encoder.formats[0], Fraction(1, 25)
    context.options = encoding.options()
    try:
        context.open()
    except (av.FFmpegError, OSError) as error:
        gpu = ", which needs an NVIDIA GPU with an encoder and its driver" if encoding.codec.endswith("nvenc") else ""
        return f"it cannot be opened here ({error.strerror or error}){gpu}"
    return ""
