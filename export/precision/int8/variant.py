"""The INT8 variant of one export: calibrate, and choose what is INT8 within the drift budget."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.ranges.fp16_range import beyond_fp16
from defian_edge.export.precision.fp16 import by_measurement
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.groups import named
from defian_edge.export.precision.int8.mixed_precision import MixedPrecision, choose
from defian_edge.export.precision.int8.sensitivity import Validation, as_json, rank
from defian_edge.export.precision.int8.shares import Shares
from defian_edge.export.precision.int8.sites import Scope, find_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import onnx_ir as ir

    from defian_edge.calibration.photos import CalibrationSet
    from defian_edge.export.precision.int8.recipe import Recipe
    from defian_edge.export.precision.variants import Variant
    from defian_edge.export.source.base import SourceNetwork
    from defian_edge.runtime.profile import ShapeProfile


@dataclass(frozen=True)
class Int8Options:
    """What is asked of an INT8 variant.

    Attributes:
        recipe: how it is made.
        profile: shapes that the graph will run at.
        max_drift: budget per image in dB; None takes the whole scope.
        sensitivity: measure what each part of the network costs in INT8, needed or not.
    """

    recipe: Recipe
    profile: ShapeProfile
    max_drift: float | None = None
    sensitivity: bool = False

    @property
    def needs_validation(self) -> bool:
        """Whether some calibration photos are held back to measure drift on."""
        return self.max_drift is not None or self.sensitivity


def make_int8(
    graph: ir.Model,
    network: SourceNetwork,
    patches: CalibrationSet,
    options: Int8Options,
    images: Sequence[np.ndarray],
    say: Callable[[str], None] = lambda _: None,
) -> Variant:
    """The INT8 graph of a rewritten FP32 graph with uint8 I/O.

    With a drift budget it has a coverage that keeps the budget on the photos held back, as large as
    :func:`~export.precision.int8.mixed_precision.choose` finds; without, all of the scope. Tensors that leave FP16's
    range on the images stay FP32; they are looked for in the graph that the exact helpers changed. Its record says what
    is INT8, what had to stay FP16, and the sensitivity if it was measured.

    If nothing keeps the budget, the variant is the whole scope and its record has the reason under ``refused``.
    """
    graph = named(graph)
    features = find_sites(graph, Scope.FEATURES)
    shares = Shares(graph, features, options.profile.optimum)
    training, validation = patches, None
    if options.needs_validation:
        training, held_back = patches.split()
        pairs = held_back.pairs()
        references = [network.evaluate(pair.lr) for pair in pairs]
        validation = Validation(Reference(pairs, references, network.scale))
    say(f"calibrating INT8 on {training.patches} patches of {len(training.photos)} photos")
    calibrated = calibrate(graph, training, options.recipe, say, features)
    calibrated = calibrated.keeping_wide(beyond_fp16(calibrated.model, images, options.profile.largest_pixels))
    if validation is None:
        sites = calibrated.sites
        mixed = MixedPrecision(sites.groups, (), shares.macs(sites), shares.bytes(sites), {})
        sensitivities = []
    else:
        sensitivities = rank(calibrated, validation, shares, say) if options.sensitivity else []
        mixed, sensitivities = choose(calibrated, validation, shares, options.max_drift, sensitivities, say)
        sites = calibrated.sites.only(frozenset(mixed.groups))
    record = {"mixed_precision": asdict(mixed), "sensitivity": as_json(sensitivities)}
    if not sites.groups:
        record["refused"] = "nothing can be INT8: every site reads or writes what FP16 cannot hold"
        if not features.groups:
            record["refused"] = f"nothing can be INT8: {_left_out(calibrated.record['left_out'])}"
        elif calibrated.sites.groups:
            record["refused"] = f"nothing can be INT8 within {options.max_drift} dB on the validation photos"
        sites = calibrated.sites
    variant = calibrated.variant(sites)
    alone = by_measurement(calibrated.model, calibrated.beyond)
    return replace(variant, calibration={**variant.calibration, **record}, by_measurement=alone)


def _left_out(reasons: Mapping[str, int]) -> str:
    """Why no convolution of a network is a site."""
    each = [f"{why} ({count})" for why, count in sorted(reasons.items(), key=lambda item: -item[1])]
    return f"of every convolution: {', '.join(each)}" if each else "the graph has no convolution"
