"""A reference pack: pictures with what the PyTorch network made of them, in a file that a device can read.

It is a zip archive of PNG files, stored as they are, and ``pack.json``, which says what they are and has the SHA-256 of
each; the archive's comment is the SHA-256 of ``pack.json``, and a manifest has that of the whole file. Any viewer opens
the pictures, and PNG packs photos a third smaller than the deflated arrays of an ``.npz``. Nothing is decoded before
its hash and its size are known to be right, and no code is ever read from it. ``export/pack/`` writes it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..errors import DefianError
from ..images import UNREADABLE
from ..tiling import Tiling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ..manifest import Manifest

SCHEMA = 1
HEADER = "pack.json"
KINDS = ("photo", "hard")
MOST_BYTES = 1 << 30
"""A larger file is no pack, and is not read."""
MOST_PIXELS = 1 << 26
AGAIN = "Copy it again, or make it again with export.py."
BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError, RuntimeError, ValueError)
"""What zipfile raises at a file that is truncated, damaged or none of its own."""


@dataclass(frozen=True)
class ReferencePicture:
    """A picture of a pack: low resolution, what PyTorch made of it, and the original.

    Attributes:
        name: unique in the pack.
        kind: ``photo``, or ``hard`` for one that no photo resembles, on which low precision goes wrong first.
        lr: uint8 RGB [H, W, 3].
        reference: uint8 RGB [sH, sW, 3], of the PyTorch FP32 network.
        original: the same; None where there is none.
        tiling: the reference was computed in these tiles; None for in one piece.
        licence: of the picture, in words.
    """

    name: str
    kind: str
    lr: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    original: NDArray[np.uint8] | None
    tiling: Tiling | None
    licence: str


@dataclass(frozen=True)
class PackedPicture:
    """What the pack says of a picture before it is decoded: names of files, and (height, width) of the LR."""

    name: str
    kind: str
    size: tuple[int, int]
    lr: str
    reference: str
    original: str | None
    tiling: Tiling | None
    licence: str


@dataclass(frozen=True)
class ReferencePack:
    """A pack whose every byte has been checked.

    Attributes:
        path: where it lies.
        sha256: of the file.
        model, scale, checkpoint_sha256: of the network that the reference is.
        metric: what its figures mean.
        first: name of the small picture that an engine is opened with.
        pictures: all of them.
    """

    path: Path
    sha256: str
    model: str
    scale: int
    checkpoint_sha256: str
    metric: str
    first: str
    pictures: tuple[PackedPicture, ...]
    files: Mapping[str, bytes]

    def require_network(self, manifest: Manifest) -> None:
        """Refuse an artefact of another checkpoint or scale.

        Raises:
            DefianError: with what was expected and what was found.
        """
        for what, expected, found in (
            ("scale", str(manifest.scale), str(self.scale)),
            ("checkpoint", manifest.checkpoint_sha256, self.checkpoint_sha256),
        ):
            if expected != found:
                raise DefianError(
                    f"{self.path.name} is a reference of another {what} than {manifest.file}: expected "
                    f"{expected[:16]}, found {found[:16]} ({self.model}).",
                    f"Give the pack that export.py wrote beside {manifest.model}.",
                )

    def load(self, packed: PackedPicture) -> ReferencePicture:
        """Decode a picture.

        Raises:
            DefianError: it has another size than the pack says.
        """
        height, width = packed.size
        large = (height * self.scale, width * self.scale)
        original = None if packed.original is None else self._decode(packed.original, large)
        lr, reference = self._decode(packed.lr, packed.size), self._decode(packed.reference, large)
        return ReferencePicture(packed.name, packed.kind, lr, reference, original, packed.tiling, packed.licence)

    def _decode(self, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        try:
            with Image.open(io.BytesIO(self.files[name]), formats=["PNG"]) as image:
                found = (image.height, image.width, image.mode)
                if found == (*size, "RGB"):
                    return np.asarray(image)
        except UNREADABLE as error:
            raise DefianError(f"{self.path}: {name} cannot be decoded ({error}).", AGAIN) from error
        raise DefianError(
            f"{self.path}: expected {name} as RGB of {size[1]}x{size[0]}, found {found[2]} of {found[1]}x{found[0]}.",
            AGAIN,
        )


def read_pack(path: Path, sha256: str | None = None) -> ReferencePack:
    """Read a pack and check every byte of it.

    Args:
        path: the file.
        sha256: that it must have, as a manifest says; None for any.

    Raises:
        DefianError: it is missing, truncated, changed, of another schema, or no pack.
    """
    content = _content(path)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise DefianError(
            f"{path} is not the reference pack that the manifest names: expected SHA-256 {sha256[:16]}..., "
            f"found {found[:16]}...",
            AGAIN,
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if any(each.compress_type != zipfile.ZIP_STORED or each.file_size > len(content) for each in entries):
                raise zipfile.BadZipFile("a file in it is compressed, or larger than the archive")
            files = {each.filename: archive.read(each) for each in entries}
            comment = archive.comment
    except BROKEN as error:
        raise DefianError(f"{path} is truncated, damaged or no reference pack ({error}).", AGAIN) from error
    if len(files) != len(entries) or HEADER not in files:
        raise DefianError(f"{path} is no reference pack: expected one {HEADER} in it, and every file once.", AGAIN)
    header = files.pop(HEADER)
    if hashlib.sha256(header).hexdigest().encode() != comment:
        raise _changed(path, HEADER)
    return _parse(path, found, header, files)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DefianError(f"{path} is larger than any reference pack ({MOST_BYTES >> 20} MiB).", AGAIN)
        return path.read_bytes()
    except OSError as error:
        raise DefianError(
            f"No reference pack can be read at {path} ({error.strerror}).",
            "Copy it along with the artefact; export.py writes both.",
        ) from error


def _changed(path: Path, name: str) -> DefianError:
    return DefianError(f"{path}: {name} has been changed since the pack was written.", AGAIN)


def _parse(path: Path, sha256: str, header: bytes, files: Mapping[str, bytes]) -> ReferencePack:
    try:
        said = json.loads(header)
        if said["schema"] == SCHEMA:
            pack = _of_header(path, sha256, said, files)
            hashes = {name: str(digest) for name, digest in said["files"].items()}
        else:
            pack, hashes = None, {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DefianError(f"{path} is no reference pack ({type(error).__name__}: {error}).", AGAIN) from error
    if pack is None:
        raise DefianError(
            f"{path}: expected a reference pack of schema {SCHEMA}, found {said['schema']!r}.",
            "Make it again with this version's export.py.",
        )
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != hashes[name]:
            raise _changed(path, name)
    return pack


def _of_header(path: Path, sha256: str, said: dict[str, Any], files: Mapping[str, bytes]) -> ReferencePack:
    if set(said["files"]) != set(files):
        raise ValueError(f"other files than it names: {sorted(set(said['files']) ^ set(files))[:3]}")
    if type(said["scale"]) is not int or said["scale"] not in (2, 3, 4):
        raise ValueError(f"scale is {said['scale']!r}")
    pictures = tuple(_picture(each, files) for each in said["pictures"])
    texts = {name: _text(said[name]) for name in ("model", "checkpoint_sha256", "metric", "first")}
    names = [each.name for each in pictures]
    if len(set(names)) != len(names) or texts["first"] not in names:
        raise ValueError("two pictures of one name, or no picture to begin with")
    return ReferencePack(path, sha256, scale=said["scale"], pictures=pictures, files=files, **texts)


def _picture(said: dict[str, Any], files: Mapping[str, bytes]) -> PackedPicture:
    height, width = said["size"]
    if not all(type(side) is int and side > 0 for side in (height, width)) or height * width > MOST_PIXELS:
        raise ValueError(f"size is {said['size']!r}")
    tiling = said["tiling"]
    for name in (said["lr"], said["reference"], *([] if said["original"] is None else [said["original"]])):
        if name not in files:
            raise ValueError(f"no file {name!r}")
    if said["kind"] not in KINDS:
        raise ValueError(f"kind is {said['kind']!r}")
    return PackedPicture(
        name=_text(said["name"]),
        kind=said["kind"],
        size=(height, width),
        lr=said["lr"],
        reference=said["reference"],
        original=said["original"],
        tiling=None if tiling is None else Tiling(*map(_whole, tiling)),
        licence=_text(said["licence"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not re.search(r"\S", value):
        raise TypeError(f"expected a text, found {value!r}")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"expected a whole number, found {value!r}")
    return value
