"""The drift section on a reference pack: PyTorch's pictures without PyTorch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.drift.hard_images import HardPicture
from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.photos import EvaluationPair
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.verify.pack import read_pack
from defian_edge.runtime.verify.promise import promise_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from defian_edge.benchmark.candidates import Candidate
    from defian_edge.runtime.profile import ShapeProfile
    from defian_edge.runtime.verify.pack import PackedPicture, ReferencePack

SUFFIX = ".zip"
ARTEFACTS = (".onnx", ".engine")


def has_pytorch() -> bool:
    """Whether the reference network can be run here."""
    return importlib.util.find_spec("torch") is not None


def is_pack(reference: str | None) -> bool:
    """Whether ``--reference`` names a pack and not a checkpoint."""
    return reference is not None and reference.endswith(SUFFIX)


def own_pack(artefacts: Iterable[str]) -> str | None:
    """The pack that lies beside the first graph or engine whose manifest names one; None if there is none.

    Raises:
        DefianError: a manifest cannot be read.
    """
    for artefact in map(Path, artefacts):
        if artefact.suffix in ARTEFACTS and artefact.is_file():
            promise = promise_of(read_manifest(artefact, verify=False))
            if promise is not None and artefact.with_name(promise.file).is_file():
                return str(artefact.with_name(promise.file))
    return None


def packed_pairs(pack: ReferencePack, candidates: Sequence[Candidate]) -> list[EvaluationPair]:
    """The pack's photos that every engine takes, LR and original.

    Raises:
        DefianError: there is none, or a candidate is of another checkpoint.
    """
    for each in candidates:
        if (each.checkpoint_sha256, each.scale) != (pack.checkpoint_sha256, pack.scale):
            raise DefianError(
                f"{pack.path.name} is a reference of another network than {each.name}: expected the checkpoint "
                f"{each.checkpoint_sha256[:16]}... at scale {each.scale}, found {pack.checkpoint_sha256[:16]}... "
                f"({pack.model}).",
                "Give the pack that export.py wrote beside the artefact.",
            )
    profiles = [each.profile for each in candidates if each.run is not None and each.profile is not None]
    chosen = [each for each in _photos(pack) if all(profile.contains((1, *each.size)) for profile in profiles)]
    if not chosen:
        raise DefianError(
            f"{pack.path.name} holds no photo that all artefacts take.", "Export again with a --profile that fits."
        )
    return [_pair(pack, each) for each in chosen]


def reference_in(pack: ReferencePack, pairs: Sequence[EvaluationPair], profile: ShapeProfile | None) -> Reference:
    """PyTorch's pictures of the pairs that :func:`packed_pairs` gave, and of the hard images that the profile takes.

    A pack holds 8-bit pictures, so that nothing is known before rounding.
    """
    named = {each.name: each for each in pack.pictures}
    results = [Evaluation(pack.load(named[pair.name]).reference, finite=True) for pair in pairs]
    hard = [each for each in pack.pictures if each.kind == "hard" and each.tiling is None]
    fitting = [pack.load(each) for each in hard if profile is None or profile.contains((1, *each.size))]
    pictures = tuple(HardPicture(each.name, each.lr, each.reference) for each in fitting)
    return Reference(pairs, results, pack.scale, pictures)


def _photos(pack: ReferencePack) -> list[PackedPicture]:
    return [each for each in pack.pictures if each.original is not None and each.tiling is None]


def _pair(pack: ReferencePack, packed: PackedPicture) -> EvaluationPair:
    picture = pack.load(packed)
    if picture.original is None:  # which _photos has left out
        raise ValueError(packed.name)
    return EvaluationPair(picture.name, picture.lr, picture.original, picture.licence)


def reference_words(reference: str | None) -> str:
    """Which reference a drift section was measured against, for the page and the JSON."""
    if reference is not None and reference.endswith(".onnx"):
        return f"the FP32 graph {reference}, run here by ONNX Runtime"
    if reference is None or not is_pack(reference):
        return f"the PyTorch FP32 network{'' if reference is None else f' of {reference}'}, run here"
    pack = read_pack(Path(reference))
    return (
        f"PyTorch's pictures in {pack.path.name} (SHA-256 {pack.sha256[:16]}...), made of {pack.model} when it was "
        "exported; PyTorch was not run here"
    )
