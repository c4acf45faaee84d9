"""Which pack belongs to an artefact, and what its export promised on the pack's pictures.

The promise stands in the manifest and not in the pack: it belongs to one artefact and travels with it, while the pack
holds what all artefacts of a checkpoint share. So one more precision, exported later, leaves pack and manifests alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DefianError
from .figures import Figures
from .pack import ReferencePack, read_pack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..manifest import Manifest


@dataclass(frozen=True)
class Promise:
    """What a manifest says of its reference.

    Attributes:
        file: name of the pack, which lies beside the artefact.
        sha256: of the pack.
        figures: picture -> what the variant was measured to be; FP16 rounded as a device rounds it.
    """

    file: str
    sha256: str
    figures: Mapping[str, Figures]

    def as_json(self) -> dict[str, Any]:
        """What the manifest keeps."""
        figures = {name: each.as_json() for name, each in self.figures.items()}
        return {"file": self.file, "sha256": self.sha256, "promised": figures}


def promise_of(manifest: Manifest) -> Promise | None:
    """What the manifest says of its reference; None if it names none.

    Raises:
        DefianError: what it says cannot be read.
    """
    said = manifest.reference
    if not said:
        return None
    try:
        return _parsed(said)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DefianError(
            f"The manifest of {manifest.file} says of its reference pack what cannot be read "
            f"({type(error).__name__}: {error}).",
            f"Export it again: {manifest.command}",
        ) from error


def _parsed(said: dict[str, Any]) -> Promise:
    if not isinstance(said["file"], str) or "/" in said["file"] or not isinstance(said["sha256"], str):
        raise TypeError(f"file is {said['file']!r}")
    figures = {name: Figures.from_json(each) for name, each in said["promised"].items()}
    return Promise(said["file"], said["sha256"], figures)


def pack_of(
    artefact: Path, manifest: Manifest, given: Path | None = None
) -> tuple[ReferencePack, Mapping[str, Figures]]:
    """The pack to hold an artefact against, and what was promised on it; no promise if it is not the manifest's pack.

    Args:
        artefact: the graph or engine; its own pack lies beside it.
        manifest: of it.
        given: another pack, of the same checkpoint.

    Raises:
        DefianError: there is none, it cannot be read, or it is another network's.
    """
    promise = promise_of(manifest)
    if given is None and promise is None:
        raise DefianError(
            f"{manifest.file}: its manifest names no reference pack, so there is nothing to hold it against.",
            f"Export it again, or give a pack of the same checkpoint with --reference: {manifest.command}",
        )
    if given is None and promise is not None:
        pack = read_pack(artefact.with_name(promise.file), promise.sha256)
    else:
        pack = read_pack(given or artefact)
    pack.require_network(manifest)
    kept = promise is not None and promise.sha256 == pack.sha256
    return pack, promise.figures if promise is not None and kept else {}
