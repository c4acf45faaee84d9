"""A reference pack for the double's engines: two photos and the hard images, and what the tiny graph makes of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from defian_edge.calibration.photos import EvaluationPair, bundled_photos
from defian_edge.export.pack.write import WrittenPack, make_pack
from defian_edge.runtime.images import downscale, read_image
from tests.device.engines import PROFILE, Reference, write_engine

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from defian_edge.runtime.profile import ShapeProfile

CHECKPOINT: Any = SimpleNamespace(name="tiny", sha256="0" * 64, scale=2)


def pairs() -> list[EvaluationPair]:
    """Details of the photos that scikit-image ships, 40x48 and 24x20 LR."""
    found = []
    for name, (height, width) in (("astronaut.png", (40, 48)), ("chelsea.png", (24, 20))):
        photo = read_image(bundled_photos((name,))[0])[60 : 60 + 2 * height, 180 : 180 + 2 * width]
        found.append(EvaluationPair(name.removesuffix(".png"), *downscale(photo, 2), licence="free"))
    return found


def upscale(reference: Reference) -> Any:  # noqa: ANN401 - a function
    """The tiny graph for one picture."""

    def run(lr: np.ndarray) -> np.ndarray:
        return reference(lr[None])[0]

    return run


def write_pack(folder: Path, reference: Reference, profile: ShapeProfile = PROFILE) -> WrittenPack:
    """A pack beside the engines."""
    pack = make_pack(CHECKPOINT, pairs(), profile, upscale(reference))
    folder.mkdir(exist_ok=True)
    (folder / pack.name).write_bytes(pack.content)
    return pack


def engine_with_pack(folder: Path, reference: Reference, **changes: Any) -> Path:  # noqa: ANN401
    """An engine whose manifest names its pack and promises what the graph does."""
    pack = write_pack(folder, reference, changes.get("profile", PROFILE))
    return write_engine(folder, reference=pack.promise(upscale(reference)).as_json(), **changes)
