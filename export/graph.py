"""Small vocabulary for reading and writing ONNX IR graphs, shared by every rewrite and precision.

Values are :class:`onnx_ir.Value`, nodes :class:`onnx_ir.Node`. Nothing here knows about DeFiAN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnx_ir.tape import Tape
from onnxscript.optimizer import fold_constants

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from defian_edge.runtime.profile import Shape

OPSET = 20


class Emitter:
    """Collects new nodes: ``emit("Add", a, b)`` returns the output value, ``emit.constant`` a constant.

    Constants are ``Constant`` nodes, because the same code writes function bodies, which hold no
    initializers; those of a graph are lifted after the rewrite.
    """

    def __init__(self) -> None:
        self._tape = Tape()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def __call__(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:  # noqa: ANN401
        return self._tape.op(op_type, list(inputs), attributes)

    def constant(self, array: np.ndarray | Sequence[float] | Sequence[int] | float | int) -> ir.Value:
        """A constant of the array's own dtype; Python floats become float32 and integers int64."""
        data = np.asarray(array)
        if not isinstance(array, np.ndarray):
            data = data.astype(np.float32 if data.dtype.kind == "f" else np.int64)
        key = (str(data.dtype), data.shape, data.tobytes())
        if key not in self._constants:
            self._constants[key] = self._tape.op("Constant", [], {"value": ir.tensor(data.copy(order="C"))})
            self._constants[key].const_value = ir.tensor(data)
        return self._constants[key]

    def insert_before(self, node: ir.Node) -> None:
        """Put the collected nodes into the node's graph, in front of it."""
        graph = node.graph
        if graph is None:
            raise ValueError(f"node {node.name} is in no graph")
        graph.insert_before(node, self._tape.nodes)

    @property
    def nodes(self) -> Sequence[ir.Node]:
        """The collected nodes in order."""
        return self._tape.nodes


def array_of(value: ir.Value | None) -> np.ndarray | None:
    """The constant behind a value as a NumPy array, or None if the value is not constant."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def producer_of(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that makes the value if it is of this type, else None."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def only_consumer(value: ir.Value, op_type: str | None = None) -> ir.Node | None:
    """The single reader of the value (of that type), or None if there are several or it is an output."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    return node if op_type is None or node.op_type == op_type else None


def integers(node: ir.Node, name: str, default: Sequence[int] = ()) -> tuple[int, ...]:
    """An integer-list attribute, or the default if the node does not carry it."""
    attribute = node.attributes.get(name)
    return tuple(attribute.as_ints()) if attribute is not None else tuple(default)


def static_dimension(value: ir.Value, axis: int) -> int | None:
    """The size of one axis if the graph fixes it."""
    shape = value.shape
    if shape is None or axis >= len(shape):
        return None
    size = shape[axis]
    return size if isinstance(size, int) else None


def nodes_of_type(graph: ir.Graph, op_type: str, domain: str = "") -> Iterator[ir.Node]:
    """The graph's nodes of one type, safe against removal while iterating."""
    return iter([node for node in graph if node.op_type == op_type and node.domain == domain])


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Let every reader of ``old`` read ``new``; shape, type and, for graph outputs, the name are kept."""
    if new.shape is None:
        new.shape = old.shape
    if new.type is None:
        new.type = old.type
    was_output, name = old.is_graph_output(), old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    if was_output:
        old.name, new.name = f"{name}.replaced", name


def set_constant(node: ir.Node, index: int, array: np.ndarray) -> None:
    """Give one input of a node a float32 constant of its own; other readers of the old one keep it."""
    emit = Emitter()
    constant = emit.constant(np.array(array, dtype=np.float32))
    emit.insert_before(node)
    node.replace_input_with(index, constant)


def copy_of(model: ir.Model) -> ir.Model:
    """A deep copy, so that one graph can become several variants."""
    return ir.from_proto(ir.to_proto(model))


def settle(model: ir.Model) -> None:
    """Constants become initializers, what nobody reads goes, and the nodes stand in order."""
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.RemoveUnusedNodesPass()(model)
    common.TopologicalSortPass()(model)


def inlined(model: ir.Model) -> ir.Model:
    """A copy of the model with its functions inlined and what depends on constants alone computed.

    Every backend does the same on loading; so this is the graph that is compiled.
    """
    copy = copy_of(model)
    common.InlinePass()(copy)
    fold_constants(copy)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    common.RemoveUnusedNodesPass()(copy)
    return copy


def with_shape(model: ir.Model, shape: Shape) -> ir.Model:
    """An inlined copy whose image has this (batch, height, width), and whose tensors have static shapes."""
    copy = inlined(model)
    sizes = {"batch": shape[0], "height": shape[1], "width": shape[2]}
    for value in [*copy.graph.outputs, *(v for node in copy.graph for v in node.outputs)]:
        known = None if value.shape is None else [_concrete(size, sizes) for size in value.shape]
        value.shape = ir.Shape(known) if known is not None and None not in known else None
    image = copy.graph.inputs[0]
    channels_last = image.dtype == ir.DataType.UINT8
    image.shape = ir.Shape((*shape, 3) if channels_last else (shape[0], 3, *shape[1:]))
    static = _inferred(copy)
    unknown = _of_no_size(static)
    while unknown:
        # Sizes that the graph computes from its image's, such as of what it pads, are constants now, one by one.
        fold_constants(static)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(static)
        common.RemoveUnusedNodesPass()(static)
        for value in unknown:
            value.shape = None
        for value in static.graph.initializers.values():
            value.shape = None if value.const_value is None else ir.Shape(value.const_value.shape.numpy())
        static = _inferred(static)
        before, unknown = len(unknown), _of_no_size(static)
        if len(unknown) >= before:
            break
    return static


def _of_no_size(model: ir.Model) -> list[ir.Value]:
    values = (value for node in model.graph for value in node.outputs)
    return [value for value in values if value.shape is None or not value.shape.is_static()]


def _inferred(model: ir.Model) -> ir.Model:
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model), data_prop=True))


def _concrete(size: int | ir.SymbolicDim, sizes: dict[str, int]) -> int | None:
    """A dimension such as ``2*height`` as a number; None if the graph does not name it."""
    if isinstance(size, int):
        return size
    factor, _, name = (size.value or "").rpartition("*")
    known = sizes.get(name.strip())
    return known * int(factor or 1) if known is not None and (factor or "1").isdigit() else None
