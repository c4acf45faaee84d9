"""What of a video is neither picture nor lost: sound, subtitles, chapters, languages, titles and metadata."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .errors import DefianError
from .video_encoder import FORMATS, MATROSKA
from .video_source import is_picture

if TYPE_CHECKING:
    from pathlib import Path

_BYTE = re.compile("[\udc80-\udcff]")
_OF_THE_FILE = ("DURATION", "BPS", "NUMBER_OF_", "_STATISTICS", "ENCODER", "encoder", "major_brand", "minor_version")
_OF_THE_FILE += ("compatible_brands", "rotate", "vendor_id", "alpha_mode")
"""Metadata that say how a file was made, which is not true of the result."""


def copied_streams(reader: Any, writer: Any, film: Any, source: Path) -> tuple[dict[int, Any], list[str]]:  # noqa: ANN401
    """Streams of the result for sound and subtitles, by the index of the source's; and what is left out.

    Raises:
        DefianError: the container does not take its own sound.
    """
    copies: dict[int, Any] = {}
    left: list[str] = []
    for stream in reader.streams:
        if stream.index == film.index:
            continue
        if stream.type not in ("audio", "subtitle"):
            if stream.type == "data" and reader.chapters() and reader.format.name.startswith("mov"):
                continue  # the chapters' names, which are kept as chapters
            what = "attached picture" if stream.type == "video" and is_picture(stream) else f"{stream.type} stream"
            left.append(f"{what} {stream.index} is left out")
            continue
        try:
            copy = writer.add_stream_from_template(stream)
        except ValueError as error:
            if stream.type == "subtitle":
                name = stream.codec_context.name if stream.codec_context is not None else "unknown"
                left.append(f"subtitles {stream.index} ({name}) do not fit into {writer.format.name} and are left out")
                continue
            raise DefianError(
                f"{source}: its sound does not fit into its result's container, {writer.format.name} ({error}).",
                _way_out(source, writer.format.name),
            ) from error
        _keep(stream, copy)
        copies[stream.index] = copy
    return copies, left


def _way_out(source: Path, container: str) -> str:
    """How a film is made one whose sound fits: into Matroska, and where even that does not take it, as FLAC."""
    if container == FORMATS[MATROSKA]:
        target = source.with_suffix(f".flac{MATROSKA}").name
        return f"Make it FLAC, which loses nothing: ffmpeg -i {source.name} -c:v copy -c:a flac {target}"
    return f"Put it into another one: ffmpeg -i {source.name} -c copy {source.with_suffix(MATROSKA).name}"


def keep_facts(reader: Any, writer: Any, film: Any, output: Any) -> None:  # noqa: ANN401
    """Give the result the metadata and chapters of the file, and those of the film."""
    writer.metadata.update(_facts(reader.metadata))
    if chapters := reader.chapters():
        writer.set_chapters([{**each, "metadata": _texts(each["metadata"])} for each in chapters])
    _keep(film, output)


def _keep(stream: Any, copy: Any) -> None:  # noqa: ANN401
    copy.metadata.update(_facts(stream.metadata))
    copy.disposition = stream.disposition


def _facts(said: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in _texts(said).items() if not key.startswith(_OF_THE_FILE)}


def _texts(said: dict[str, str]) -> dict[str, str]:
    """Metadata as text: bytes that are no UTF-8, which come as surrogates, are taken as Latin-1."""
    return {key: _BYTE.sub(lambda found: chr(ord(found[0]) - 0xDC00), value) for key, value in said.items()}
