"""A FP16 variant that misses its budget is measured again with some of its parts in BF16 or FP32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from defian_edge.export.engine.lowering import Eigen, inline_functions
from defian_edge.export.precision.mixed import MixOptions, choose_types

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import onnx_ir as ir

    from defian_edge.export.measure import DriftGate, Measured
    from defian_edge.export.options import ExportOptions
    from defian_edge.export.precision.variants import Variant

ROUNDS = 2
"""The types are chosen on the worst images; where another image then misses the budget, once more with that one."""


@dataclass(frozen=True)
class Mixing:
    """What mixed types are chosen by.

    Attributes:
        gate: measures the variants.
        options: of the export.
        capability: that engines are built for; see :meth:`defian_edge.export.options.ExportOptions.may_mix_bf16`.
        images: on which FP16's range was measured.
        say: told what is being done, and which parts have which type.
    """

    gate: DriftGate
    options: ExportOptions
    capability: str
    images: Sequence[np.ndarray]
    say: Callable[[str], None]

    def where_needed(self, variant: Variant, found: Measured, graph: ir.Model) -> tuple[Variant, Measured]:
        """The variant and what was measured of it, as they are if it keeps its budget.

        Otherwise the variant with mixed types and its drift, which misses the budget still if so many rounds are not
        enough; or, with the reason in its ``mixed`` under ``refused``, both as they were, if there are no such types.

        Args:
            variant: FP16 without mixed types.
            found: what the gate measured of it.
            graph: the FP32 graph that it was made of.
        """
        options = self.options
        mix = MixOptions(options.max_drift, options.profile, options.may_mix_bf16(self.capability), self.images)
        mixed, measured, failed, trials = variant, found, [], 0
        for _ in range(ROUNDS):
            if measured.report is None or measured.report.verdict(options.max_drift).passed:
                break
            failed.append(measured.report)
            chosen = choose_types(graph, variant.beyond, failed, self.gate.reference, mix, self.say)
            trials += chosen.trials
            chosen = replace(chosen, trials=trials)
            if chosen.refused:
                return replace(variant, mixed=chosen.as_json()), found
            self.say(f"fp16 with mixed types: {chosen}")
            model = chosen.graph(graph)
            if options.eigen is Eigen.INLINE:
                inline_functions(model)
            mixed = replace(variant, model=model, mixed=chosen.as_json())
            measured = self.gate.measured(mixed)
        return mixed, measured
