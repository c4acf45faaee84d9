"""What the variants cost against the network itself, and what they promise on the pictures of the reference pack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.report import DriftReport, measure_drift
from defian_edge.export.pack.write import Remembered, WrittenPack, make_pack
from defian_edge.export.source.base import reference_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from defian_edge.calibration.drift.evaluation import Evaluation
    from defian_edge.calibration.drift.reference import Reference
    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.export.precision.variants import Variant
    from defian_edge.export.source.base import SourceNetwork
    from defian_edge.runtime.profile import ShapeProfile
    from defian_edge.runtime.verify.promise import Promise


@dataclass(frozen=True)
class Measured:
    """A variant's drift, and what it promises on the pack's pictures; None with float I/O or without a pack."""

    report: DriftReport | None = None
    promise: Promise | None = None


@dataclass(frozen=True)
class PackSize:
    """What the reference pack may be: pictures of the profile's sizes, MB of all at most; 0 for no pack."""

    profile: ShapeProfile
    megabytes: float


class DriftGate:
    """The reference on all images, run once, and every variant held against it.

    Args:
        network: that the variants are of.
        pairs: the images.
        size: of the reference pack.
        say: told what is being done.

    Attributes:
        reference: the network's own pictures.
        pack: the reference pack, None if none is wanted.

    Raises:
        DefianError: the pack does not fit into its size.
    """

    def __init__(
        self, network: SourceNetwork, pairs: Sequence[EvaluationPair], size: PackSize, say: Callable[[str], None]
    ) -> None:
        say(f"running the {network.reference} reference on {len(pairs)} images")
        self._say, self.reference = say, reference_of(network, pairs)
        self.pack: WrittenPack | None = None
        if size.megabytes > 0:
            say("making the reference pack")
            upscale = _remembering(network, self.reference)
            self.pack = make_pack(network, pairs, size.profile, upscale, size.megabytes)

    def measured(self, variant: Variant) -> Measured:
        """A variant's drift on all images, and what it promises on the pack's."""
        name = variant.precision.value
        self._say(f"measuring the drift of {name}")
        seen = _Seen(GraphEvaluator(variant.model, ranges=True), self.pack)
        report = measure_drift(name, seen, self.reference)
        return Measured(report, None if self.pack is None else self.pack.promise(seen.remembered))


def _remembering(network: SourceNetwork, reference: Reference) -> Callable[[np.ndarray], np.ndarray]:
    """The reference network; what it has made of whole images is not computed again."""
    remembered = Remembered(network.upscale)
    for pair, result in zip(reference.pairs, reference.results, strict=True):
        remembered.keep(pair.lr, result.image)
    return remembered


class _Seen:
    """An evaluator of which the pictures that are in the pack as well are remembered."""

    def __init__(self, evaluator: GraphEvaluator, pack: WrittenPack | None) -> None:
        self._evaluator = evaluator
        self._sizes = set() if pack is None else {each.lr.shape for each in pack.pictures}
        self.remembered = Remembered(lambda lr: evaluator(lr).image)

    def __call__(self, lr: np.ndarray) -> Evaluation:
        evaluation = self._evaluator(lr)
        if lr.shape in self._sizes:
            self.remembered.keep(lr, evaluation.image)
        return evaluation
