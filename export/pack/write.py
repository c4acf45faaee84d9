"""Writes a reference pack: the same pictures and network give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from defian_edge.export.pack import DEFAULT_SIZE
from defian_edge.export.pack.choose import fixed_pictures, photos_within
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.tiles import upscale_in_tiles
from defian_edge.runtime.verify.figures import METRIC, Figures, figures_of
from defian_edge.runtime.verify.pack import HEADER, SCHEMA, ReferencePicture
from defian_edge.runtime.verify.promise import Promise

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.export.pack.choose import Chosen
    from defian_edge.runtime.profile import ShapeProfile
    from defian_edge.runtime.tiling import Tiling

MEGA = 10**6
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time that every file in the archive has: the earliest that a zip archive can say."""


class Named(Protocol):
    """What a pack says of its reference network: a checkpoint, or whatever else is exported."""

    @property
    def name(self) -> str: ...

    @property
    def scale(self) -> int: ...

    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class WrittenPack:
    """A pack in memory.

    Attributes:
        content: the file.
        name: of the file; it holds the beginning of the file's SHA-256, so that no export replaces the pack that an
            earlier one's manifests refer to.
        sha256: of the file.
        scale: of the network.
        pictures: what is in it.
        left_out: photos that did not fit.
    """

    content: bytes
    name: str
    sha256: str
    scale: int
    pictures: tuple[ReferencePicture, ...]
    left_out: int = 0

    def promise(self, upscale: Callable[[np.ndarray], np.ndarray]) -> Promise:
        """What a variant does on the pack's pictures.

        Args:
            upscale: the variant, FP16 rounded as a device rounds it: uint8 RGB [H, W, 3] -> [sH, sW, 3].
        """
        figures: dict[str, Figures] = {}
        for each in self.pictures:
            picture = _upscaled(upscale, each.lr, each.tiling, self.scale)
            figures[each.name] = figures_of(picture, each.reference, each.original, self.scale)
        return Promise(self.name, self.sha256, figures)


class Remembered:
    """Upscales pictures, those that have been upscaled before from memory.

    Args:
        upscale: uint8 RGB [H, W, 3] -> [sH, sW, 3].
    """

    def __init__(self, upscale: Callable[[np.ndarray], np.ndarray]) -> None:
        self._upscale = upscale
        self._known: dict[tuple[Any, bytes], np.ndarray] = {}

    def keep(self, lr: np.ndarray, result: np.ndarray) -> None:
        """Remember a result."""
        self._known[self._key(lr)] = result

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        """Upscale uint8 RGB [H, W, 3]."""
        known = self._known.get(self._key(lr))
        return self._upscale(lr) if known is None else known

    def _key(self, lr: np.ndarray) -> tuple[Any, bytes]:
        return lr.shape, hashlib.sha256(np.ascontiguousarray(lr).tobytes()).digest()


def make_pack(
    network: Named,
    pairs: Sequence[EvaluationPair],
    profile: ShapeProfile,
    upscale: Callable[[np.ndarray], np.ndarray],
    megabytes: float = DEFAULT_SIZE,
) -> WrittenPack:
    """Make the pack of a network.

    Args:
        network: the reference.
        pairs: the images of the drift measurement, at least one.
        profile: shapes that the engines take; no picture has another.
        upscale: that network in FP32, uint8 RGB [H, W, 3] -> [sH, sW, 3].
        megabytes: the file's size at most, in 10^6 bytes.

    Raises:
        DefianError: not even the small pictures fit into that size.
    """
    scale, limit = network.scale, int(megabytes * MEGA)
    pictures = [_referenced(each, upscale, scale) for each in fixed_pictures(pairs, profile, scale)]
    taken = len(_archive(network, pictures))
    if taken > limit:
        raise DefianError(
            f"--reference-size {megabytes:g}: the small pictures of a reference pack alone take {taken / MEGA:.2f} MB "
            f"at scale {scale} with this profile.",
            f"Give --reference-size {np.ceil(taken / MEGA * 10) / 10:g} or more, or 0 for no pack.",
        )
    photos, left_out = photos_within(pairs, profile, scale, limit - taken)
    names = {each.name for each in pictures}
    for photo in photos:
        name = photo.name
        while name in names:
            name = f"{name} (photo)"
        names.add(name)
        pictures.append(_referenced(replace(photo, name=name), upscale, scale))
    content = _archive(network, pictures)
    digest = hashlib.sha256(content).hexdigest()
    name = f"{network.name}.{digest[:8]}.reference.zip"
    return WrittenPack(content, name, digest, scale, tuple(pictures), left_out)


def _referenced(chosen: Chosen, upscale: Callable[[np.ndarray], np.ndarray], scale: int) -> ReferencePicture:
    reference = _upscaled(upscale, chosen.lr, chosen.tiling, scale)
    return ReferencePicture(
        chosen.name, chosen.kind, chosen.lr, reference, chosen.original, chosen.tiling, chosen.licence
    )


def _upscaled(
    upscale: Callable[[np.ndarray], np.ndarray], lr: np.ndarray, tiling: Tiling | None, scale: int
) -> np.ndarray:
    if tiling is None:
        return upscale(lr)

    def frames(tiles: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        for tile in tiles:
            yield upscale(np.ascontiguousarray(tile))

    return upscale_in_tiles(frames, lr, tiling, scale)


def _archive(network: Named, pictures: Sequence[ReferencePicture]) -> bytes:
    files: dict[str, bytes] = {}
    described = [_described(index, picture, files) for index, picture in enumerate(pictures)]
    header = {
        "schema": SCHEMA,
        "model": network.name,
        "scale": network.scale,
        "checkpoint_sha256": network.sha256,
        "metric": METRIC,
        "first": pictures[0].name,
        "pictures": described,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    text = (json.dumps(header, indent=1) + "\n").encode()
    return _zipped({HEADER: text, **files}, hashlib.sha256(text).hexdigest().encode())


def _described(index: int, picture: ReferencePicture, files: dict[str, bytes]) -> dict[str, Any]:
    names: dict[str, str | None] = {}
    for part in ("lr", "reference", "original"):
        image = getattr(picture, part)
        names[part] = None if image is None else f"{index:03}.{part}.png"
        if image is not None:
            files[f"{index:03}.{part}.png"] = _png(image)
    tiling = None if picture.tiling is None else [picture.tiling.height, picture.tiling.width, picture.tiling.overlap]
    return {
        "name": picture.name,
        "kind": picture.kind,
        "size": list(picture.lr.shape[:2]),
        **names,
        "tiling": tiling,
        "licence": picture.licence,
    }


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=9)
    return buffer.getvalue()


def _zipped(files: Mapping[str, bytes], comment: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = comment
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()
