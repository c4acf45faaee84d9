"""The drift section: every candidate's pictures against HR and against the PyTorch reference."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.benchmark.measure.packed import has_pytorch, is_pack, reference_in
from defian_edge.benchmark.measure.tiling import in_tiles
from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.drift.hard_images import hard_pictures
from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.drift.report import DriftReport, measure_drift
from defian_edge.export.drift import graph_evaluator, session_evaluator
from defian_edge.models.bundled import bundled_models, resolve_model
from defian_edge.runtime.decoding import UNREADABLE, opened
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import sha256_of
from defian_edge.runtime.images import images_in, read_image
from defian_edge.runtime.verify.pack import read_pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from defian_edge.benchmark.candidates import Candidate
    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.export.source.base import SourceNetwork
    from defian_edge.runtime.profile import ShapeProfile
    from defian_edge.runtime.tiling import Tiling


@dataclass(frozen=True)
class WorstImage:
    """The image on which a candidate lost most, as uint8 RGB [sH, sW, 3]: original, reference and candidate."""

    name: str
    hr: np.ndarray
    reference: np.ndarray
    candidate: np.ndarray


@dataclass(frozen=True)
class Quality:
    """One candidate over all images.

    Attributes:
        report: PSNR-Y, SSIM-Y and drift, image by image.
        differences: how many uint8 values differ from the reference's by 0, 1, 2, ...; trailing zeros left out.
        worst: the pictures of the worst image.
        tiled: the candidate in tiles against the same candidate in one piece, as if that were the reference; None
            without tiles.
    """

    report: DriftReport
    differences: tuple[int, ...]
    worst: WorstImage
    tiled: DriftReport | None = None


def measure_quality(
    candidates: Sequence[Candidate],
    pairs: Sequence[EvaluationPair],
    reference: str | None,
    provider: str,
    say: Callable[[str], None] = lambda _: None,
    tiling: Tiling | None = None,
) -> dict[str, Quality]:
    """Drift of every candidate that runs here, against the network of its own checkpoint.

    Graphs that run on the CPU are evaluated with every FP16 tensor rounded as on a device, because ONNX Runtime's
    CPU provider would hide that rounding; everything else is run as it is. All of it is run on the hard images as well,
    of an engine in the nearest sizes that it takes.

    Args:
        candidates: what to measure.
        pairs: LR and HR images, at least one.
        reference: checkpoint for all candidates, or a reference pack (.zip) of which ``pairs`` are photos; None finds
            each one's own checkpoint by its hash.
        provider: what runs the graphs.
        say: told what is being done.
        tiling: measures what these tiles cost as well; None for no tiles.

    Raises:
        DefianError: a candidate's checkpoint is not among the artefacts or the bundled models.
    """
    running = [each for each in candidates if each.run is not None]
    references = _References(candidates, pairs, reference, say)
    results: dict[str, Quality] = {}
    for each in running:
        against = references.of(each)
        say(f"measuring the drift of {each.name}")
        results[each.name] = _measure(each, against, provider, tiling)
    return results


def require_references(candidates: Sequence[Candidate], reference: str | None) -> None:
    """Refuse candidates whose checkpoint is not at hand, or a reference of another scale, before anything is measured.

    Raises:
        DefianError: as :func:`measure_quality`.
    """
    for path in dict.fromkeys(_checkpoint(each, candidates, reference) for each in candidates if each.run is not None):
        _load(path, candidates)


class _References:
    """What each candidate is measured against.

    A pack is read once; a network is run once on the photos, and once on the hard images of each profile.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        pairs: Sequence[EvaluationPair],
        given: str | None,
        say: Callable[[str], None],
    ) -> None:
        self._candidates, self._pairs, self._given, self._say = candidates, pairs, given, say
        self._pack = read_pack(Path(given)) if given is not None and is_pack(given) else None
        self._networks: dict[Path, tuple[SourceNetwork, Reference]] = {}
        self._known: dict[tuple[Path, ShapeProfile | None], Reference] = {}

    def of(self, candidate: Candidate) -> Reference:
        pack = self._pack
        path = _checkpoint(candidate, self._candidates, self._given) if pack is None else pack.path
        key = path, candidate.profile
        if key not in self._known:
            self._known[key] = self._reference(path, candidate.profile)
        return self._known[key]

    def _reference(self, path: Path, profile: ShapeProfile | None) -> Reference:
        if self._pack is not None:
            return reference_in(self._pack, self._pairs, profile)
        network, reference = self._network(path)
        if profile is None:
            return reference
        return replace(reference, hard=hard_pictures(network.upscale, profile))

    def _network(self, path: Path) -> tuple[SourceNetwork, Reference]:
        if path not in self._networks:
            network = _load(path, self._candidates)
            from defian_edge.export.source.base import reference_of

            self._say(f"running the {network.reference} reference {path.name} on {len(self._pairs)} images")
            self._networks[path] = network, reference_of(network, self._pairs)
        return self._networks[path]


def _load(path: Path, candidates: Sequence[Candidate]) -> SourceNetwork:
    """The reference network; what it takes for a picture is in the manifest of what was made of it."""
    if not has_pytorch():
        raise DefianError(
            f"Running the reference network of {path.name} needs the package 'torch', which is not installed.",
            "Give --reference PACK, the reference pack that export.py wrote, in the place of images; or install "
            "'defian-edge[export]'.",
        )
    from defian_edge.export.source.opening import open_source
    from defian_edge.export.source.picture import PictureFormat

    digest, scale = sha256_of(path), candidates[0].scale
    sources = (each.manifest.source for each in candidates if each.manifest and each.checkpoint_sha256 == digest)
    said = next((each["picture"] for each in sources if "picture" in each), None)
    network = open_source(path) if said is None else open_source(path, PictureFormat.from_json(said))
    if network.scale != scale:
        raise DefianError(
            f"{path}: expected a reference of scale {scale}, found {network.scale}.",
            "Name a checkpoint of that scale with --reference, or leave it out to find each one's own.",
        )
    return network


def _checkpoint(candidate: Candidate, candidates: Sequence[Candidate], reference: str | None) -> Path:
    if reference is not None:
        return resolve_model(reference)
    known = [each.path for each in candidates if each.kind == "pytorch"] + list(bundled_models().values())
    for path in known:
        if sha256_of(path) == candidate.checkpoint_sha256:
            return path
    raise DefianError(
        f"{candidate.name} was made from the checkpoint {candidate.model!r}, which is not at hand: expected a file of "
        f"SHA-256 {candidate.checkpoint_sha256[:16]}... among the artefacts or the bundled models.",
        "Name it with --reference, or the reference pack beside the graph; or leave --dataset, --lr and --hr out to "
        "measure speed only.",
    )


def _measure(candidate: Candidate, reference: Reference, provider: str, tiling: Tiling | None) -> Quality:
    evaluate = _evaluator(candidate, provider)
    pairs, expected = reference.pairs, reference.results
    counts = np.zeros(256, np.int64)
    wholes: list[Evaluation] = []

    def counted(lr: np.ndarray) -> Evaluation:
        result = evaluate(lr)
        if len(wholes) < len(pairs):  # the photos come before the hard images
            difference = np.abs(result.image.astype(np.int16) - expected[len(wholes)].image)
            counts[:] += np.bincount(difference.ravel(), minlength=256)
            wholes.append(Evaluation(result.image, result.finite))
        return result

    report = measure_drift(candidate.name, counted, reference)
    index = report.images.index(report.worst)
    pair = pairs[index]
    worst = WorstImage(pair.name, pair.hr, expected[index].image, wholes[index].image)
    tiled = None
    if tiling is not None:
        upscale = in_tiles(candidate, evaluate, tiling)
        against_itself = Reference(pairs, wholes, reference.scale)
        tiled = measure_drift(candidate.name, lambda lr: Evaluation(upscale(lr), finite=True), against_itself)
    return Quality(report, tuple(np.trim_zeros(counts, "b").tolist()), worst, tiled)


def _evaluator(candidate: Candidate, provider: str) -> Callable[[np.ndarray], Evaluation]:
    """How a candidate is run on one image, its values before rounding in view where they can be seen."""
    if candidate.kind == "onnx" and provider == "cpu" and can_emulate():
        return graph_evaluator(candidate.path)
    if candidate.kind == "pytorch":
        return _load(candidate.path, [candidate]).evaluate
    run = candidate.run
    if run is None:
        raise ValueError(f"{candidate.name} does not run here")
    return session_evaluator(run)


def can_emulate() -> bool:
    """Whether FP16 can be rounded as on a device when a graph runs on a CPU, which takes onnx-ir."""
    return importlib.util.find_spec("onnx_ir") is not None


def cropped_pairs(lr: Path, hr: Path, scale: int) -> list[str]:
    """Sentences on HR images that are cropped to the size of their LR, and on those that have no LR.

    Raises:
        DefianError: a folder holds no image, or an image cannot be read.
    """
    small = {path.stem: path for path in images_in(lr)}
    sentences = []
    for path in images_in(hr):
        low = small.get(path.stem) or small.get(f"{path.stem}x{scale}")
        if low is None:
            sentences.append(f"{path.name} has no LR image of its name in {lr} and is left out.")
            continue
        height, width = (side * scale for side in read_image(low).shape[:2])
        found = read_image(path).shape[:2]
        if found != (height, width):
            sentences.append(
                f"{path.name}: {found[1]}x{found[0]} is not {scale} times its LR, cropped to {width}x{height}."
            )
    return sentences


def cropped_photos(dataset: Path, scale: int) -> list[str]:
    """Sentences on HR photos whose size is no multiple of the scale and which are therefore cropped.

    Raises:
        DefianError: the folder holds no image.
    """
    sentences = []
    for path in images_in(dataset):
        try:
            with opened(path) as image:
                width, height = image.size
        except (DefianError, *UNREADABLE):
            continue  # reading it in earnest gives the error
        if width % scale or height % scale:
            fitting = f"{width - width % scale}x{height - height % scale}"
            sentences.append(f"{path.name}: {width}x{height} is no multiple of {scale}, cropped to {fitting}.")
    return sentences
