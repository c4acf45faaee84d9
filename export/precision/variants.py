"""One rewritten FP32 graph -> its variants in the requested precisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from defian_edge.export.graph import copy_of, settle
from defian_edge.export.precision.fp16 import ALL_ALIKE, BF16_ISLANDS, ISLANDS, NOTHING, Island, to_bf16, to_fp16

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from defian_edge.calibration.ranges.fp16_range import BeyondFp16
    from defian_edge.export.precision import Precision


@dataclass(frozen=True)
class Variant:
    """A graph in one precision.

    Attributes:
        precision: which.
        model: the graph.
        calibration: how its ranges were found; INT8 only.
        beyond: what was measured to leave FP16's range.
        by_measurement: names of that which no rule would have kept FP32.
        mixed: which parts of a FP16 graph are BF16 or FP32 so that it keeps its budget: ``bf16``, ``fp32_range``,
            ``fp32``, ``parts``, ``trials``, ``nodes``, and ``refused`` if no choice does, as
            :meth:`defian_edge.export.precision.mixed.Mixed.as_json` has them, with the trials of all rounds; empty if
            FP16 keeps it alone.
    """

    precision: Precision
    model: ir.Model
    calibration: dict[str, Any] = field(default_factory=dict)
    beyond: BeyondFp16 = NOTHING
    by_measurement: tuple[str, ...] = ()
    mixed: dict[str, Any] = field(default_factory=dict)

    def serialise(self) -> bytes:
        """The ONNX file's bytes.

        Raises:
            onnx.checker.ValidationError: the graph is not valid ONNX; a defect of this project.
        """
        proto = ir.to_proto(self.model)
        onnx.checker.check_model(proto, full_check=True)
        return proto.SerializeToString()


def make_fp16(
    rewritten: ir.Model,
    beyond: BeyondFp16 = NOTHING,
    islands: Collection[Island] = ISLANDS,
    others: Mapping[str, ir.DataType] = ALL_ALIKE,
) -> ir.Model:
    """The FP16 graph; what leaves FP16's range stays FP32, and ``others`` have the types that they name."""
    model = copy_of(rewritten)
    to_fp16(model, beyond, islands, others)
    settle(model)
    return model


def make_bf16(rewritten: ir.Model, islands: Collection[Island] = BF16_ISLANDS) -> ir.Model:
    """The BF16 graph, which imports ONNX's opset 22."""
    model = copy_of(rewritten)
    to_bf16(model, islands)
    settle(model)
    return model
