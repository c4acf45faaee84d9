"""Which parts of a FP16 graph that misses its budget become BF16 or FP32: as few bytes more as keep it, all measured.

Two things go wrong in FP16, and they ask for different types. What leaves its range on some content gives Inf, NaN or a
black frame; BF16 has FP32's range and FP16's bytes, so it comes first, for the very nodes that write or read such a
tensor: everywhere else the value is back in range, and no cast to FP16 stands where it is not. What needs more than 11
bits is worse in BF16, and becomes FP32, by whole parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.report import measure_drift
from defian_edge.calibration.ranges.fp16_range import BeyondFp16, beyond_fp16
from defian_edge.export.graph import with_shape
from defian_edge.export.precision.fp16 import BF16, HALF, NEVER_BF16, WIDE, touches
from defian_edge.export.precision.int8.sensitivity import error_of
from defian_edge.export.precision.parts import elements_of, parts_of
from defian_edge.export.precision.search import fewest_left_out
from defian_edge.export.precision.variants import make_fp16

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import onnx_ir as ir

    from defian_edge.calibration.drift.reference import Reference
    from defian_edge.calibration.drift.report import DriftReport
    from defian_edge.runtime.profile import ShapeProfile

MOST_PHOTOS = 3
"""Of those on which FP16 misses the budget, the worst; choices are tried on them and on the hard images at fault."""


class Level(Enum):
    """What becomes of a part, the fewest bytes first."""

    BF16 = "what leaves FP16's range is BF16, the rest FP16"
    RANGE = "what leaves FP16's range is FP32, the rest FP16"
    FP32 = "all FP32"


@dataclass(frozen=True)
class MixOptions:
    """What bounds the choice.

    Attributes:
        budget: dB that any photo may lose; None for the guards alone.
        profile: shapes that the graph will run at.
        bf16: whether a node may be BF16: an engine will run the graph, for a GPU that has it.
        images: on which FP16's range was measured, uint8 RGB [H, W, 3].
    """

    budget: float | None
    profile: ShapeProfile
    bf16: bool
    images: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class Mixed:
    """The choice.

    Attributes:
        beyond: what stays FP32 wherever it is because it leaves FP16's range; as it was in the graph that missed.
        others: type of every node that would be FP16 and is not, by the name of its first output.
        bf16: parts of which some nodes are BF16.
        ranged: parts of which those nodes are FP32 because they leave FP16's range.
        fp32: parts that are FP32.
        parts: how many there are.
        trials: graphs that were measured for it.
        refused: why there is no such choice, in words; empty if there is one.
    """

    beyond: BeyondFp16
    others: Mapping[str, ir.DataType] = field(default_factory=dict)
    bf16: tuple[str, ...] = ()
    ranged: tuple[str, ...] = ()
    fp32: tuple[str, ...] = ()
    parts: int = 0
    trials: int = 0
    refused: str = ""

    def graph(self, rewritten: ir.Model) -> ir.Model:
        """The FP32 graph typed so."""
        return make_fp16(rewritten, self.beyond, others=self.others)

    def as_json(self) -> dict[str, Any]:
        """What the manifest keeps, in JSON's types."""
        chosen = {"bf16": self.bf16, "fp32_range": self.ranged, "fp32": self.fp32}
        counted = {"parts": self.parts, "trials": self.trials, "nodes": len(self.others)}
        refused = {"refused": self.refused} if self.refused else {}
        return {**{name: list(parts) for name, parts in chosen.items()}, **counted, **refused}

    def __str__(self) -> str:
        words = [
            f"{', '.join(parts)}: {level.value}"
            for level, parts in zip(Level, (self.bf16, self.ranged, self.fp32), strict=True)
            if parts
        ]
        return "; ".join(words)


def choose_types(
    rewritten: ir.Model,
    beyond: BeyondFp16,
    failed: Sequence[DriftReport],
    reference: Reference,
    options: MixOptions,
    say: Callable[[str], None] = lambda _: None,
) -> Mixed:
    """The types with which a FP16 graph keeps the budget on the images on which it missed it.

    What leaves FP16's range is measured again, on those images as well. What does so only there becomes BF16, or FP32
    where BF16 misses the budget. If that is not enough, or nothing does, each part is measured alone in FP16 on the
    worst photo and the hard images, and as few as :func:`~export.precision.search.fewest_left_out` finds become FP32,
    those with the largest error for their elements first. At most ``3 * MOST_PARTS + 8`` graphs are measured. The other
    images are the drift gate's.

    Args:
        rewritten: FP32 graph with uint8 I/O; it is not changed.
        beyond: what was FP32 for its range in the FP16 graphs that missed.
        failed: their reports on the images of the reference; none passes.
        reference: the images, and the network's own pictures.
        options: see there.
        say: told what is being done.
    """
    suspects = _suspects(failed, reference, options.budget)
    say("measuring what leaves the range of FP16 on the images that miss the budget")
    images = [*options.images, *(pair.lr for pair in suspects.pairs), *(each.lr for each in suspects.hard)]
    seen = beyond_fp16(rewritten, images, options.profile.largest_pixels)
    wider = seen.tensors - beyond.tensors  # sums are FP32 by rule
    trials = _Trials(rewritten, beyond, wider, suspects, options, say)
    parts, ranged = list(trials.parts), list(trials.ranged)
    levels = dict.fromkeys(parts, Level.RANGE)
    in_bf16 = {**levels, **dict.fromkeys(ranged, Level.BF16)}
    if options.bf16 and ranged and trials.keeps(in_bf16):
        return trials.mixed(in_bf16)
    if not ranged or not trials.keeps(levels):
        levels = trials.narrowed(levels)
        if levels is None:
            return trials.refused()
    for part in ranged if options.bf16 else ():
        tried = {**levels, part: Level.BF16}
        if levels[part] is Level.RANGE and tried != in_bf16 and trials.keeps(tried):
            levels = tried
    return trials.mixed(levels)


class _Trials:
    """Graphs of one network in chosen types, measured on the images that FP16 failed on."""

    def __init__(
        self,
        rewritten: ir.Model,
        beyond: BeyondFp16,
        wider: frozenset[str],
        suspects: Reference,
        options: MixOptions,
        say: Callable[[str], None],
    ) -> None:
        self._rewritten, self._beyond, self._suspects, self._options = rewritten, beyond, suspects, options
        self._say, self._count, self._passed = say, 0, False
        typed = make_fp16(rewritten, beyond).graph
        half = frozenset(node.outputs[0].name or "" for node in typed if _is_half(node))
        self.parts = parts_of(rewritten, half)
        touching = [node for node in rewritten.graph if touches(node, wider)]
        self._wider = {node.outputs[0].name or "" for node in touching}
        self._never_bf16 = {node.outputs[0].name or "" for node in touching if node.op_type in NEVER_BF16}
        self.ranged = [part for part, nodes in self.parts.items() if nodes & self._wider]

    def mixed(self, levels: Mapping[str, Level]) -> Mixed:
        """The choice that these levels are."""
        at = {level: [part for part in self.parts if levels[part] is level] for level in Level}
        others: dict[str, ir.DataType] = {}
        for part, nodes in self.parts.items():
            chosen = nodes if levels[part] is Level.FP32 else nodes & self._wider
            for node in sorted(chosen):
                narrow = levels[part] is Level.BF16 and node not in self._never_bf16
                others[node] = BF16 if narrow else WIDE
        ranged = tuple(part for part in at[Level.RANGE] if part in self.ranged)
        return Mixed(
            self._beyond, others, tuple(at[Level.BF16]), ranged, tuple(at[Level.FP32]), len(self.parts), self._count
        )

    def refused(self) -> Mixed:
        """No choice: everything has to be FP32, or not even that is enough."""
        limit = "without a fault" if self._options.budget is None else f"within {self._options.budget:g} dB"
        reason = f"no part can be FP16 {limit}" if self._passed else f"not even FP32 in every part is {limit}"
        return Mixed(self._beyond, parts=len(self.parts), trials=self._count, refused=reason)

    def keeps(self, levels: Mapping[str, Level]) -> bool:
        """Whether a graph keeps the budget on every image; it is measured up to the first on which it does not."""
        mixed, suspects = self.mixed(levels), self._suspects
        evaluate = self._evaluator(mixed)
        passed = all(
            measure_drift("fp16", evaluate, suspects.only([place], () if place else suspects.hard))
            .verdict(self._options.budget)
            .passed
            for place in range(len(suspects.pairs))
        )
        self._say(f"mixed types: {mixed}: {'keeps' if passed else 'misses'} the budget")
        return passed

    def narrowed(self, levels: Mapping[str, Level]) -> dict[str, Level] | None:
        """The levels, with as few parts as must be in FP32; None if that are all of them."""
        errors, alone = {}, set()
        wide = dict.fromkeys(self.parts, Level.FP32)
        for part in self.parts:
            report = self._report({**wide, part: levels[part]})
            errors[part] = math.inf if report.hard else error_of(report)
            self._say(f"mixed types: {part} alone in FP16, error {errors[part]:.5f}")
            if report.verdict(self._options.budget).passed:
                alone.add(part)
        shape = self._options.profile.optimum
        elements = elements_of(with_shape(self._rewritten, shape), self.parts)

        def tried(kept: Sequence[str]) -> tuple[dict[str, Level], bool]:
            chosen = {**wide, **{part: levels[part] for part in kept}}
            passed = self.keeps(chosen)
            self._passed = self._passed or passed
            return chosen, passed

        order = sorted(self.parts, key=lambda part: -errors[part] / elements[part])
        chosen = fewest_left_out(order, alone, tried)
        return None if set(chosen.values()) <= {Level.FP32} else chosen

    def _report(self, levels: Mapping[str, Level]) -> DriftReport:
        """On the first photo and the hard images alone."""
        first = self._suspects.only([0], self._suspects.hard)
        return measure_drift("fp16", self._evaluator(self.mixed(levels)), first)

    def _evaluator(self, mixed: Mixed) -> GraphEvaluator:
        self._count += 1
        return GraphEvaluator(mixed.graph(self._rewritten))


def _is_half(node: ir.Node) -> bool:
    """Whether a node of a FP16 graph writes FP16 or reads it, as one does that compares."""
    return any(value is not None and value.dtype == HALF for value in (*node.inputs, *node.outputs))


def _suspects(failed: Sequence[DriftReport], reference: Reference, budget: float | None) -> Reference:
    """Of each report the photos most over the budget, the worst if none is, and the hard images at fault."""
    worst: dict[str, None] = {}
    hard: set[str] = set()
    for report in failed:
        beyond = report.faults if budget is None else report.over(budget)
        worst |= dict.fromkeys(image.name for image in beyond[:MOST_PHOTOS] or [report.worst])
        hard |= {fault.partition(":")[0] for fault in report.hard}
    places = {pair.name: index for index, pair in enumerate(reference.pairs)}
    return reference.only((places[name] for name in worst), [each for each in reference.hard if each.name in hard])
