"""Type a FP32 graph as FP16 or BF16, with FP32 where the numbers need it.

TensorRT networks are strongly typed, so what is FP16 is decided here and nowhere else. FP32 stays whatever was
measured to come near the ends of FP16's range on photos or hard images, what has constants that FP16 cannot hold, what
is computed from the picture's size alone, what ONNX knows in FP32 only, and two islands, each of which
``python -m tools.islands`` measures (docs/quantisation.md has the table):

* ``input``: the path from the image to the first convolution (the colour mapping's constants are not exact in FP16);
* ``statistics``: reductions over H, W or both with the squares that they sum, and everything
  computed from them until it meets the picture again (a sum over half a million pixels, and a deviation down to 0.003).

Clamping and rounding are FP16: in FP32 they gain nothing that an 8-bit picture shows, and make the
compiler keep larger maps.
The deviations ``x - mean(x)`` themselves are FP16: computed in FP32 they make the compiler keep two
more feature maps (docs/rewrites.md has the measurement), and rounding them changes the variance by less
than 1e-6 of itself.

BF16 has FP32's range, so that nothing has to be measured to leave it, and 8 bits of mantissa instead of FP16's 11. A
picture's values from 128 to 255 are whole steps in BF16, so that a third island stays FP32 in BF16 graphs:

* ``output``: the convolution that writes the picture, and everything behind it.

and so do transposed convolutions, which TensorRT-RTX does not know in BF16.

In a FP16 graph single nodes may be BF16 or FP32 instead: :mod:`defian_edge.export.precision.mixed` chooses which where
FP16 misses its budget.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from defian_edge.calibration.ranges.fp16_range import BeyondFp16
from defian_edge.export.graph import array_of
from defian_edge.export.precision.maps import ASKS_FOR_SIZES, BF16_OPSET, Maps, from_sizes_alone, gives, takes
from defian_edge.export.trace.hessian_op import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

NOTHING = BeyondFp16()
WIDE, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
BF16 = ir.DataType.BFLOAT16
NEVER_BF16 = frozenset({"ConvTranspose"})
"""TensorRT-RTX 1.7.1 cannot type it as BF16 and builds no engine (docs/networks.md)."""
ALL_ALIKE: Mapping[str, ir.DataType] = MappingProxyType({})
"""No node has another type than the graph."""
REDUCTIONS = {"ReduceMean", "ReduceSum"}
LINEAR = {"Conv", "ConvTranspose", "MatMul", "Gemm"}
POINTWISE = {"Add", "Sub", "Mul", "Div", "Clip", "Round", "Identity"}


class Island(str, Enum):
    """A part of the network that stays FP32 in a FP16 graph."""

    INPUT = "input"
    STATISTICS = "statistics"
    OUTPUT = "output"


ISLANDS = frozenset({Island.INPUT, Island.STATISTICS})
"""Of a FP16 graph."""
BF16_ISLANDS = frozenset(Island)


def to_bf16(model: ir.Model, islands: Collection[Island] = BF16_ISLANDS) -> int:
    """Type the model as BF16 in place, for ONNX's opset 22, the first with BF16 convolutions; see :func:`to_fp16`."""
    _import_bf16(model)
    return _to_half(model, BF16, NOTHING, islands)


def to_fp16(
    model: ir.Model,
    beyond: BeyondFp16 = NOTHING,
    islands: Collection[Island] = ISLANDS,
    others: Mapping[str, ir.DataType] = ALL_ALIKE,
) -> int:
    """Type the model's main graph as FP16 in place, casts included; returns the number of nodes now in FP16 or BF16.

    Nodes that write or read a tensor of ``beyond``, and those that compute one of its sums, stay FP32;
    :func:`defian_edge.calibration.ranges.fp16_range.beyond_fp16` measures which. ``others`` has the type, BF16 or FP32,
    of what would be FP16 and is not, by the name of a node's first output; with BF16 among them the model is of ONNX's
    opset 22.

    Inputs and outputs keep their types. Custom operators take features of either type, their functions
    cast inside.
    """
    if BF16 in others.values():
        _import_bf16(model)
    return _to_half(model, HALF, beyond, islands, others)


def _import_bf16(model: ir.Model) -> None:
    for imports in (model.opset_imports, *(function.opset_imports for function in model.functions.values())):
        if "" in imports:
            imports[""] = max(imports[""], BF16_OPSET)


def _to_half(
    model: ir.Model,
    half: ir.DataType,
    beyond: BeyondFp16,
    islands: Collection[Island],
    others: Mapping[str, ir.DataType] = ALL_ALIKE,
) -> int:
    graph = model.graph
    wide = _wide_nodes(graph, beyond, islands, half)
    casts = _Casts(graph)
    types: dict[ir.Value, ir.DataType] = {}
    typed = 0
    for node in list(graph):
        target = WIDE if node in wide else others.get(node.outputs[0].name or "", half)
        if target not in (WIDE, half) and not gives(node, target):
            target = WIDE
        if node.op_type == "Cast":
            typed += _retarget_cast(node, target, types)
        elif _type_node(node, target, types, casts):
            typed += target != WIDE
    for value, dtype in types.items():
        value.type = ir.TensorType(dtype)
    for index, output in enumerate(list(graph.outputs)):
        if output.dtype in (HALF, BF16):
            graph.outputs[index] = _output_as_float(graph, output)
    return typed


def _type_node(node: ir.Node, target: ir.DataType, types: dict[ir.Value, ir.DataType], casts: _Casts) -> bool:
    """Let the node read and write floats of the target type; False if it has none."""
    written = [output for output in node.outputs if output.dtype == WIDE]
    read = [(index, value) for index, value in enumerate(node.inputs) if value is not None and _is_float(value)]
    if node.domain == DOMAIN:
        read = read[:1]  # the Hessian's bias stays FP32
    for index, value in read:
        wanted = target if target == WIDE or takes(node, index, target) else WIDE  # such as the scales of Resize
        if types.get(value, value.dtype) != wanted:
            node.replace_input_with(index, casts.to(value, wanted))
    types.update(dict.fromkeys(written, target))
    return bool(written or read)


def _is_float(value: ir.Value) -> bool:
    return value.dtype in (WIDE, HALF, BF16)


def _retarget_cast(node: ir.Node, target: ir.DataType, types: dict[ir.Value, ir.DataType]) -> int:
    """A cast of integers to FP32 in a half region casts to its type instead; 0 to 255 are exact in both."""
    if node.outputs[0].dtype != WIDE:
        return 0
    node.attributes["to"] = ir.AttrInt64("to", int(target))
    types[node.outputs[0]] = target
    return int(target != WIDE)


def _output_as_float(graph: ir.Graph, output: ir.Value) -> ir.Value:
    name = output.name
    output.name = f"{name}.half"
    cast = ir.node("Cast", [output], {"to": int(WIDE)})
    graph.append(cast)
    result = cast.outputs[0]
    result.name, result.shape, result.type = name, output.shape, ir.TensorType(WIDE)
    return result


def _wide_nodes(
    graph: ir.Graph, beyond: BeyondFp16, islands: Collection[Island], half: ir.DataType = HALF
) -> set[ir.Node]:
    wide = {node for node in graph if touches(node, beyond.tensors) or node.outputs[0].name in beyond.sums}
    if half == HALF:
        wide |= {node for node in graph if not _constants_fit(node)}
    if half == BF16:
        wide |= {node for node in graph if node.op_type in NEVER_BF16}
    wide |= from_sizes_alone(graph) | {node for node in graph if not gives(node, half)}
    maps = Maps(graph)
    if Island.OUTPUT in islands:
        wide |= set(_output_path(graph))
    if Island.INPUT in islands:
        wide |= set(_input_path(graph))
    if Island.STATISTICS in islands:
        wide |= {node for node in graph if any(out.dtype == WIDE and maps.is_vector(out) for out in node.outputs)}
        for node in [node for node in graph if node.op_type in REDUCTIONS]:
            wide |= {node, *_squares_behind(node)}
        wide |= set(_computed_from_reductions(graph, maps))
    return wide


def by_measurement(model: ir.Model, beyond: BeyondFp16) -> tuple[str, ...]:
    """Names of what stays FP32 because it was measured, and for no other reason."""
    ruled = {output.name for node in _wide_nodes(model.graph, NOTHING, ISLANDS) for output in node.outputs}
    return tuple(sorted((beyond.tensors | beyond.sums) - ruled))


def touches(node: ir.Node, names: Collection[str]) -> bool:
    """Whether a node reads or writes one of the tensors."""
    return any(value is not None and value.name in names for value in (*node.inputs, *node.outputs))


def _constants_fit(node: ir.Node) -> bool:
    """Whether FP16 holds the node's constants: rounding them changes none by more than 2^-10 of the largest."""
    for value in node.inputs:
        array = array_of(value) if value is not None and value.dtype == WIDE else None
        if array is None or array.size == 0:
            continue
        with np.errstate(over="ignore"):
            rounded = array.astype(np.float16).astype(np.float64)
        if not np.abs(rounded - array).max() <= 2.0**-10 * np.abs(array).max():
            return False
    return True


def _output_path(graph: ir.Graph) -> Iterator[ir.Node]:
    """Everything between the last convolutions and the picture, these included."""
    pending = [output.producer() for output in graph.outputs]
    seen: set[ir.Node] = set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        if node.op_type not in LINEAR | ASKS_FOR_SIZES:
            pending += [None if value is None else value.producer() for value in node.inputs]


def _squares_behind(mean: ir.Node) -> Iterator[ir.Node]:
    """The squares that a reduction sums."""
    for value in mean.inputs:
        producer = None if value is None else value.producer()
        if producer is not None and (producer.op_type == "Pow" or (producer.op_type == "Mul" and _is_square(producer))):
            yield producer


def _computed_from_reductions(graph: ir.Graph, maps: Maps) -> Iterator[ir.Node]:
    """Everything behind a reduction whose result has not the picture's height and width."""
    statistics: set[ir.Value] = set()
    for node in graph:
        behind = node.op_type in REDUCTIONS or any(value in statistics for value in node.inputs if value is not None)
        if behind and not any(maps.is_map(output) for output in node.outputs):
            statistics.update(node.outputs)
            yield node


def _is_square(node: ir.Node) -> bool:
    return node.inputs[0] is node.inputs[1]


def _input_path(graph: ir.Graph) -> Iterator[ir.Node]:
    """Everything between the image and the first convolutions."""
    pending = list(graph.inputs)
    while pending:
        for use in pending.pop().uses():
            if use.node.op_type in POINTWISE | {"Cast", "Transpose"}:
                yield use.node
                pending += [output for output in use.node.outputs if not output.is_graph_output()]


class _Casts:
    """One cast per value and type, next to the value; constants are converted instead."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def to(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        key = (value, dtype)
        if key not in self._made:
            array = array_of(value)
            self._made[key] = self._cast(value, dtype) if array is None else self._converted(value, array, dtype)
        return self._made[key]

    def _converted(self, value: ir.Value, array: np.ndarray, dtype: ir.DataType) -> ir.Value:
        converted = ir.tensor(array.astype(dtype.numpy()), name=f"{value.name}.{dtype.name.lower()}")
        constant = ir.Value(
            name=converted.name, const_value=converted, shape=ir.Shape(array.shape), type=ir.TensorType(dtype)
        )
        self._graph.register_initializer(constant)
        return constant

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        node = ir.node("Cast", [value], {"to": int(dtype)})
        node.outputs[0].shape, node.outputs[0].type = value.shape, ir.TensorType(dtype)
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(producer, node)
        return node.outputs[0]
