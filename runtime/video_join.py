"""The parts of an upscaled film put together: packets as they are, with sound, chapters and facts of the source."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from .files import cannot_write, rename_whole
from .temporary import unfinished_file
from .video import Film
from .video_encoder import FORMATS, import_av
from .video_packets import opened_packets
from .video_parts import in_order
from .video_source import FilmReader, ffmpegs_faults, film_stream, first_look, opened_film, place_of
from .video_survey import faults_of
from .video_target import FilmWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from fractions import Fraction
    from pathlib import Path

    from .video_encoder import Encoding


def join_film(
    source: Path, parts: Sequence[Path], target: Path, how: tuple[int, Encoding], side_data: Iterable[str]
) -> Film:
    """Join upscaled parts; the target appears whole or not at all.

    Args:
        source: the film that they are of.
        parts: all of them, in their order, as ``upscale_part`` wrote them.
        target: its suffix chooses the container.
        how: how many times as large the frames are, and how they were encoded.
        side_data: what the frames of the parts say beside their pixels, by FFmpeg's names.

    Raises:
        DefianError: a file cannot be read or written, or a part was encoded otherwise.
    """
    av = import_av()
    try:
        with unfinished_file(target) as unfinished, ExitStack() as stack, ffmpegs_faults(av, source):
            reader = stack.enter_context(opened_film(av, source))
            stream = film_stream(reader, source)
            kind = FORMATS[target.suffix.lower()]
            writer = stack.enter_context(av.open(place_of(unfinished, "wb"), "w", format=kind))
            film = FilmReader(av, reader, stream, source)
            film.ledger.faults += faults_of(av, source)
            film.side_data.update(side_data)
            result = FilmWriter(av, writer, film, first_look(av, source), how)
            _join(av, film, result, parts)
            writer.close()
            return Film(
                result.count, rename_whole(unfinished, target), tuple(film.ledger.losses()), tuple(result.remarks())
            )
    except OSError as error:
        raise cannot_write(target, error) from error


def _join(av: Any, film: FilmReader, result: FilmWriter, parts: Sequence[Path]) -> None:  # noqa: ANN401
    """All packets, those of the film and those of its sound as they follow each other in time."""
    base: Fraction = film.stream.time_base
    times: list[int] = []
    for part in parts:
        with opened_packets(part) as packets:
            times += packets.times()
    upscaled = _timed(av, film, result, parts, in_order(times))
    following = next(upscaled, None)
    for packet in film.packets():
        if packet.stream.index == film.stream.index or packet.dts is None:
            continue
        while following is not None and following.dts * base <= packet.dts * packet.time_base:
            result.take_encoded(following)
            following = next(upscaled, None)
        result.take(packet)
    while following is not None:
        result.take_encoded(following)
        following = next(upscaled, None)


def _timed(
    av: Any,  # noqa: ANN401
    film: FilmReader,
    result: FilmWriter,
    parts: Sequence[Path],
    decoded: Sequence[int],
) -> Iterator[Any]:
    """Packets of the parts with their times in the whole, in units of the source's time base."""
    base, number = film.stream.time_base, 0
    for part in parts:
        with opened_packets(part) as packets:
            result.require_same_encoding(packets.header, part)
            for packet in packets.packets(av):
                packet.dts, packet.time_base = decoded[number], base
                film.ledger.shown(packet.pts * base)
                number += 1
                yield packet
