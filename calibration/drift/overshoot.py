"""How far an image drives the activations of an INT8 graph beyond their ranges, seen while the graph is evaluated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from defian_edge.calibration.drift.probes import added_to

if TYPE_CHECKING:
    from collections.abc import Sequence

QUANTISED = ".quantised"
"""Suffix of an INT8 tensor's name behind that of what was quantised."""
REACH = 127.5
"""Steps from zero that rounding still brings to INT8's largest integer, 127."""


@dataclass(frozen=True)
class Overshoot:
    """What one image does to the INT8 range that suits it least.

    Attributes:
        tensor: name of the tensor that is quantised.
        times: its largest magnitude in parts of the range; what is above 1 is clipped.
        share: of the tensor's values, those that are clipped, 0 to 1.
        clipping: power of what is clipped in parts of that of rounding, step^2 / 12. Above 1 the range is too narrow
            for such images.
    """

    tensor: str
    times: float
    share: float
    clipping: float

    @property
    def weight(self) -> tuple[float, float]:
        """Grows with what is clipped, and among equals with how near to being clipped the largest magnitude is."""
        return self.clipping, self.times


class RangeProbes:
    """Scalars that are added to a graph: of each quantised activation how far it reaches and what is clipped.

    Args:
        graph: a FP32 graph; behind its outputs it gets three more for each QuantizeLinear.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._tensors: list[str] = []
        for node in [node for node in graph if node.op_type == "QuantizeLinear"]:
            source, step = node.inputs[0], node.inputs[1]
            scale = None if step is None else ir.convenience.get_const_tensor(step)
            if source is None or source.is_initializer() or scale is None or scale.size != 1:
                continue
            limit = float(scale.numpy()) * REACH
            added: list[ir.Node] = []
            parts = added_to(added, "Abs", added_to(added, "Div", source, _scalar(graph, limit)))
            largest = added_to(added, "ReduceMax", parts, keepdims=0)
            beyond = added_to(added, "Relu", added_to(added, "Sub", parts, _scalar(graph, 1.0)))
            share = added_to(added, "ReduceMean", added_to(added, "Sign", beyond), keepdims=0)
            power = added_to(added, "ReduceMean", added_to(added, "Mul", beyond, beyond), keepdims=0)
            for name, value in (("largest", largest), ("share", share), ("power", power)):
                value.name, value.shape = f"range.{name}.{len(self._tensors)}", ir.Shape(())
                graph.outputs.append(value)
            graph.insert_before(node, added)
            self._tensors.append((node.outputs[0].name or "").removesuffix(QUANTISED))

    def read(self, scalars: Sequence[float]) -> Overshoot | None:
        """The range that an image suits least, from what the added outputs gave; None without INT8 activations."""
        found = [
            Overshoot(tensor, times, share, 12.0 * REACH**2 * power)
            for tensor, times, share, power in zip(
                self._tensors, scalars[::3], scalars[1::3], scalars[2::3], strict=True
            )
        ]
        finite = [each for each in found if math.isfinite(each.times) and math.isfinite(each.clipping)]
        return max(finite, key=lambda each: each.weight, default=None)


def _scalar(graph: ir.Graph, number: float) -> ir.Value:
    name = f"range.{number!r}"
    if name not in graph.initializers:
        value = ir.Value(name=name, const_value=ir.tensor(np.asarray(number, np.float32), name=name))
        value.shape, value.type = ir.Shape(()), ir.TensorType(ir.DataType.FLOAT)
        graph.register_initializer(value)
    return graph.initializers[name]
