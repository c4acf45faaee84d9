"""Per-channel scales and offsets: chains become one, and those behind a convolution become its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from defian_edge.export.graph import Emitter, array_of, only_consumer, replace_value
from defian_edge.export.rewrites.base import Rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator

ARITHMETIC = ("Add", "Sub", "Mul", "Div")


class AffineFolding(Rewrite):
    """A chain of per-channel ``+ - * /`` by constants is one ``a * x + b``, or nothing behind a convolution.

    Each step of the chain maps ``(a, b)`` to ``(a, b +- c)`` or ``(a c, b c)``, computed in float64. The
    pre-processing ``(x / 255 - mean) / std`` becomes one multiplication and one addition. Behind a
    convolution with one reader, ``a (W * x + w0) + b = (a W) * x + (a w0 + b)`` per output channel, so
    the mapping back to 0 ... 255 costs nothing.

    Precondition: two or more steps in a row, or one or more behind a Conv with constant weight, all with
    constants of shape [], [C,1,1] or [1,C,1,1], each read only by the next.
    """

    name = "affine-folding"
    summary = "colour mapping folded into the output convolution; one multiply-add at the input"
    operator = "Add, Sub, Mul or Div"
    place = "a step by constants, one for each channel, behind a convolution or behind another such step"

    def _candidates(self, model: ir.Model) -> int:
        return sum(node.op_type in ARITHMETIC for node in model.graph)

    def rewrite(self, model: ir.Model) -> int:
        sites = 0
        seen: set[ir.Node] = set()
        for node in [node for node in model.graph if node.op_type in ARITHMETIC]:
            if node in seen or _step(node) is None:
                continue
            chain = list(_chain(node))
            seen.update(chain)
            convolution = chain[0].inputs[0].producer() if chain[0].inputs[0] is not None else None
            if convolution is not None and _can_absorb(convolution):
                _absorb(convolution, chain)
                sites += 1
            elif len(chain) > 2:
                _merge(chain)
                sites += 1
        return sites


def _step(node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """The factor and offset of one node whose second operand is a per-channel constant."""
    if node.op_type not in ARITHMETIC:
        return None
    constant = array_of(node.inputs[1])
    if constant is None or constant.dtype != np.float32 or constant.size != max(constant.shape[-3:-2] or (1,)):
        return None
    value = constant.astype(np.float64).reshape(-1)
    one, zero = np.ones_like(value), np.zeros_like(value)
    return {
        "Add": (one, value),
        "Sub": (one, -value),
        "Mul": (value, zero),
        "Div": (1.0 / value, zero) if np.all(value) else (one, zero),
    }[node.op_type]


def _chain(node: ir.Node) -> Iterator[ir.Node]:
    step: ir.Node | None = node
    while step is not None and _step(step) is not None:
        yield step
        following = only_consumer(step.outputs[0])
        step = following if following is not None and following.inputs[0] is step.outputs[0] else None


def _total(chain: list[ir.Node]) -> tuple[np.ndarray, np.ndarray]:
    factor, offset = np.ones(1), np.zeros(1)
    for node in chain:
        step = _step(node)
        if step is not None:
            factor, offset = factor * step[0], offset * step[0] + step[1]
    return factor, offset


def _can_absorb(node: ir.Node) -> bool:
    constants = [array_of(value) for value in node.inputs[1:]]
    return (
        node.op_type == "Conv" and all(c is not None for c in constants) and only_consumer(node.outputs[0]) is not None
    )


def _absorb(convolution: ir.Node, chain: list[ir.Node]) -> None:
    factor, offset = _total(chain)
    weight = array_of(convolution.inputs[1])
    bias = array_of(convolution.inputs[2]) if len(convolution.inputs) > 2 else None
    if weight is None:
        raise ValueError(f"{convolution.name} has no constant weight")
    old_bias = np.zeros(weight.shape[0]) if bias is None else bias
    scaled = (weight * factor.reshape(-1, 1, 1, 1)).astype(np.float32)
    moved = np.broadcast_to(old_bias * factor + offset, weight.shape[:1]).astype(np.float32)
    emit = Emitter()
    attributes = {name: attribute.value for name, attribute in convolution.attributes.items()}
    folded = emit("Conv", convolution.inputs[0], emit.constant(scaled), emit.constant(moved), **attributes)
    emit.nodes[-1].name = convolution.name
    emit.insert_before(convolution)
    replace_value(chain[-1].outputs[0], folded)


def _merge(chain: list[ir.Node]) -> None:
    factor, offset = _total(chain)
    emit = Emitter()

    def channels(values: np.ndarray) -> ir.Value:
        return emit.constant(values.astype(np.float32).reshape(1, -1, 1, 1))

    scaled = emit("Mul", chain[0].inputs[0], channels(factor))
    scaled.shape, scaled.type = chain[0].outputs[0].shape, ir.TensorType(ir.DataType.FLOAT)
    shifted = emit("Add", scaled, channels(offset))
    emit.insert_before(chain[0])
    replace_value(chain[-1].outputs[0], shifted)
