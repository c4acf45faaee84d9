"""The file that a film becomes: its streams, and what of the source's facts goes into it."""

from __future__ import annotations

import errno
from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DefianError
from .video_colour import Colours
from .video_copy import copied_streams, keep_facts
from .video_hdr import Hdr, left_out

if TYPE_CHECKING:
    from pathlib import Path

    from .video_encoder import Encoding
    from .video_packets import PacketWriter
    from .video_source import FilmReader, FirstLook


class FilmWriter:
    """Encodes frames, and copies packets of other streams, in the order in which they come.

    Args:
        av: the module.
        writer: the open result.
        film: the film in the source.
        look: what its first frame says.
        how: how many times as large the frames become, and how they are encoded.

    Attributes:
        times: of the frames that are to come, in units of the source's time base.
        count: frames encoded.

    Raises:
        DefianError: the container does not take its own sound, or the encoder these sides.
    """

    def __init__(
        self,
        av: Any,  # noqa: ANN401
        writer: Any,  # noqa: ANN401
        film: FilmReader,
        look: FirstLook,
        how: tuple[int, Encoding],
    ) -> None:
        self._av, self._writer, self._film = av, writer, film
        self._scale, self._encoding = how
        self._hdr = Hdr.of(look.side_data)
        self._colours = Colours.of(film.stream.codec_context)
        self.times: deque[int] = deque()
        self.count = 0
        self._output = self._stream(film.stream, film.rate, look.turns)
        self._copied, self._remarks = self._rest(film.reader)

    def _rest(self, reader: Any) -> tuple[dict[int, Any], list[str]]:  # noqa: ANN401
        """Put what is not the film into the result: streams by the source's index, and what is left out."""
        copied, remarks = copied_streams(reader, self._writer, self._film.stream, self._film.source)
        keep_facts(reader, self._writer, self._film.stream, self._output)
        return copied, remarks

    def _stream(self, source: Any, rate: Fraction, turns: int) -> Any:  # noqa: ANN401
        context, encoding = source.codec_context, self._encoding
        options = self._hdr.options(encoding.codec, encoding.options())
        stream = self._writer.add_stream(encoding.codec, rate=rate, options=options)
        sides = (context.width, context.height)
        aspect = source.sample_aspect_ratio or Fraction(1)  # of the container, where the film itself says none
        if turns % 2:
            sides, aspect = sides[::-1], 1 / aspect
        stream.width, stream.height = (self._scale * each for each in sides)
        stream.pix_fmt = encoding.pixel_format(
            stream.width, stream.height, deep=self._deep, full_chroma=self._has_full_chroma
        )
        stream.codec_context.time_base = source.time_base
        stream.codec_context.sample_aspect_ratio = self._aspect = aspect
        self._colours.tag(stream.codec_context)
        if encoding.encoder.tag and self._writer.format.name != "matroska":
            stream.codec_context.codec_tag = encoding.encoder.tag
        return stream

    @property
    def size(self) -> str:
        """Width and height of the result."""
        return f"{self._output.width}x{self._output.height}"

    @property
    def container(self) -> str:
        """FFmpeg's name of the container."""
        return str(self._writer.format.name)

    @property
    def _deep(self) -> bool:
        """Whether the source has more than 8 bits a channel."""
        kind = self._film.stream.codec_context.format
        return kind is not None and max(each.bits for each in kind.components) > 8

    @property
    def _has_full_chroma(self) -> bool:
        """Whether the source's chroma is finer than 4:2:0."""
        kind = self._film.stream.codec_context.format
        return kind is not None and len(kind.components) > 2 and not _is_420(kind)

    @property
    def _has_alpha(self) -> bool:
        kind = self._film.stream.codec_context.format
        return kind is not None and any(each.is_alpha for each in kind.components)

    def take(self, thing: Any) -> None:  # noqa: ANN401
        """An upscaled frame, uint8 RGB [H, W, 3], or a packet of another stream of the source."""
        if not isinstance(thing, np.ndarray):
            if thing.stream.index in self._copied:
                thing.stream = self._copied[thing.stream.index]
                self._copy(thing)
            return
        frame = self._colours.from_rgb(self._av, thing, self._output.pix_fmt)
        frame.pts, frame.time_base = self.times.popleft(), self._film.stream.time_base
        self._encoded(self._output.encode(frame))
        self.count += 1

    def _copy(self, packet: Any) -> None:  # noqa: ANN401
        """Write a packet of sound or subtitles to the result; one whose time runs back, in joined films, is counted."""
        try:
            self._writer.mux(packet)
        except self._av.FFmpegError as error:
            if error.errno != errno.EINVAL:
                raise
            self._film.ledger.refused += 1

    def take_encoded(self, packet: Any) -> None:  # noqa: ANN401
        """A packet of a part of the result, encoded as this film is."""
        packet.stream = self._output
        self._writer.mux(packet)
        self.count += 1

    def require_same_encoding(self, header: bytes, name: Path) -> None:
        """Refuse a part that another version of the encoder has made, or one with other options.

        Raises:
            DefianError: its header differs from this film's.
        """
        self._writer.start_encoding()
        mine = header_of(self._output)
        if mine != header:
            raise DefianError(
                f"{name} was encoded otherwise than the film: {len(header)} bytes of header, expected {len(mine)}.",
                "Install one version of PyAV on all machines, and use --overwrite.",
            )

    def finish(self) -> None:
        """Encode what the encoder has kept back."""
        if self.count:
            self._encoded(self._output.encode(None))

    def _encoded(self, packets: Any) -> None:  # noqa: ANN401
        self._writer.mux(packets)

    def remarks(self) -> list[str]:
        """What the result lacks of its source, or has otherwise; complete at the end."""
        said = list(self._remarks)
        if self._deep:
            bits = "10" if "10" in self._output.pix_fmt else "8"
            said.append(f"{bits} bits a channel in the result, 8 in the network")
        if self._has_full_chroma and _is_420(self._output.codec_context.format):
            said.append("its colours become 4:2:0, one for four pixels, which ffv1 would keep whole")
        if self._has_alpha:
            said.append("its transparency is left out")
        if self._film.deinterlaced:
            said.append(f"{self._film.deinterlaced} frames were interlaced, and are deinterlaced")
        if self._aspect != 1 and self.container == "matroska" and not self._encoding.encoder.says_aspect:
            how = f"{self._encoding.codec} and PyAV's Matroska do not say it; libx264, libx265 and MP4 do"
            said.append(f"pixels are {self._aspect} times as wide as high, and that is left out: {how}")
        lost = left_out(self._film.side_data, self._hdr.kept(self._encoding.codec))
        return said + [f"{each} is left out" for each in lost]


def _is_420(kind: Any) -> bool:  # noqa: ANN401
    """Whether a pixel format has half as much chroma as luma across and down, or less."""
    return kind.chroma_width(16) <= 8 and kind.chroma_height(16) <= 8


class PartWriter(FilmWriter):
    """Encodes the frames of a part of a film into a file of packets, and nothing else.

    The container that it is given says how its films are encoded, and stays empty.

    Args:
        av, writer, film, look, how: of the film, as :class:`FilmWriter`.
        packets: where the packets go.
    """

    def __init__(
        self,
        av: Any,  # noqa: ANN401
        writer: Any,  # noqa: ANN401
        film: FilmReader,
        look: FirstLook,
        how: tuple[int, Encoding],
        packets: PacketWriter,
    ) -> None:
        super().__init__(av, writer, film, look, how)
        self._packets = packets

    def _rest(self, reader: Any) -> tuple[dict[int, Any], list[str]]:  # noqa: ANN401, ARG002
        return {}, []

    def _encoded(self, packets: Any) -> None:  # noqa: ANN401
        self._packets.write(packets, header_of(self._output))


def header_of(stream: Any) -> bytes:  # noqa: ANN401
    """What an encoder writes once for a whole film."""
    return bytes(stream.codec_context.extradata or b"")
