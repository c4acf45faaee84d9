"""One rewritten FP32 graph -> its variants in the requested precisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from calibration.ranges import collect_histograms, range_of
from export.precision import Precision
from export.precision.half import to_half
from export.precision.int8 import insert_qdq, residual_block_convolutions

if TYPE_CHECKING:
    from calibration.photos import CalibrationSet
    from calibration.ranges import RangeMethod


@dataclass(frozen=True)
class Variant:
    """A graph in one precision, and how its ranges were found (INT8 only)."""

    precision: Precision
    model: ir.Model
    calibration: dict[str, Any] = field(default_factory=dict)

    def serialise(self) -> bytes:
        """The ONNX file's bytes.

        Raises:
            onnx.checker.ValidationError: the graph is not valid ONNX; a defect of this project.
        """
        proto = ir.to_proto(self.model)
        onnx.checker.check_model(proto, full_check=True)
        return proto.SerializeToString()


def copy_of(model: ir.Model) -> ir.Model:
    """A deep copy, so that one graph can become several variants."""
    return ir.from_proto(ir.to_proto(model))


def make_half(rewritten: ir.Model) -> ir.Model:
    """The FP16 graph."""
    model = copy_of(rewritten)
    to_half(model)
    _settle(model)
    return model


def make_int8(rewritten: ir.Model, patches: CalibrationSet, method: RangeMethod) -> Variant:
    """The INT8 graph, with activation ranges from the calibration patches.

    Args:
        rewritten: the FP32 graph with uint8 I/O; ranges are measured on it.
        patches: what to run through it.
        method: how ranges are chosen.
    """
    convolutions = residual_block_convolutions(rewritten)
    tensors = sorted({convolution.tensor for convolution in convolutions})
    histograms = collect_histograms(rewritten, tensors, patches)
    ranges = {convolution.node: range_of(histograms[convolution.tensor], method) for convolution in convolutions}
    model = make_half(rewritten)
    quantised = insert_qdq(model, ranges)
    _settle(model)
    calibration = {
        "method": method.value,
        "photos": len(patches.photos),
        "patches": patches.patches,
        "patch_size": patches.size,
        "seed": patches.seed,
        "data_sha256": patches.sha256(),
        "convolutions": quantised,
    }
    return Variant(Precision.INT8, model, calibration)


def _settle(model: ir.Model) -> None:
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.RemoveUnusedNodesPass()(model)
    common.TopologicalSortPass()(model)
