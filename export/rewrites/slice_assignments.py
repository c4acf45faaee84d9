"""A constant that a network writes into parts of a tensor, as the masks of shifted windows are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.export.graph import (
    Emitter,
    array_of,
    integers,
    nodes_of_type,
    producer_of,
    replace_value,
    static_dimension,
)
from defian_edge.export.rewrites.base import Rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

Part = tuple[int, int]
"""Start and end of a slice; negative ones count from the end."""
LAST = np.iinfo(np.int64).max
"""The end of a slice that goes to the end."""
TURNS = 2
"""Transpositions between two scatters: back from the axis of one, and to that of the other."""


@dataclass(frozen=True)
class Assignment:
    """``base[parts] = fill``, transposed.

    Attributes:
        base: what is written into.
        layout: permutation of the base's axes in which the result stands.
        parts: axis of the base -> the slice of it that is written; all of the other axes.
        fill: the number that is written, in the base's type.
    """

    base: ir.Value
    layout: tuple[int, ...]
    parts: Mapping[int, Part]
    fill: np.ndarray


class SliceAssignments(Rewrite):
    """``x[:, a:b, c:d] = k`` is ``where((a <= row < b) and (c <= column < d), k, x)``.

    An exporter writes the assignment as a scatter along each axis, between transpositions. The mask of shifted windows
    (Liang et al., SwinIR, 2021) is made by nine of them: 18 scatters, which a compiler runs one by one, for one fixed
    size, too. A selection by place fuses with its neighbours.

    Precondition: ScatterND along the first axis at the places of a slice with constant ends and step 1 of all of its
    places in order; what is written is one constant, or the result of such a scatter into the same slice of the same
    tensor.
    """

    name = "slice-assignments"
    summary = "a constant assigned to a slice is selected by place, not scattered axis by axis"
    operator = "ScatterND"
    place = "a constant written into a slice"

    def rewrite(self, model: ir.Model) -> int:
        found: dict[ir.Value, Assignment] = {}
        for node in nodes_of_type(model.graph, "ScatterND"):
            assignment = _match(node, found)
            if assignment is not None:
                found[node.outputs[0]] = assignment
        inner = {each for value in found for each in _written(value, found)}
        writer = _Writer()
        for value, assignment in found.items():
            if value not in inner:
                writer.write(value, assignment)
        return len(found) - len(inner)


class _Writer:
    """Writes assignments as selections; places along an axis are counted once for all that are of one shape."""

    def __init__(self) -> None:
        self._now: dict[ir.Value, ir.Value] = {}
        self._first: dict[ir.Value, ir.Value] = {}
        self._places: dict[tuple[ir.Value, int], tuple[ir.Value, ir.Value]] = {}

    def write(self, value: ir.Value, assignment: Assignment) -> None:
        """Let all readers of a scatter's result read a selection."""
        node = value.producer()
        if node is None:
            raise ValueError(f"{value.name} is made by no node")
        emit = Emitter()
        base = self._now.get(assignment.base, assignment.base)
        inside = None
        for axis, part in sorted(assignment.parts.items()):
            for comparison in self._comparisons(emit, base, axis, part, len(assignment.layout)):
                inside = comparison if inside is None else emit("And", inside, comparison)
        if inside is None:
            inside = emit.constant(np.ones((1,) * len(assignment.layout), np.bool_))
        selected = emit("Where", inside, emit.constant(assignment.fill), base)
        selected.type, selected.shape = assignment.base.type, assignment.base.shape
        self._first[selected] = self._first.get(base, base)
        turned = emit("Transpose", selected, perm=list(assignment.layout))
        emit.insert_before(node)
        back = tuple(int(place) for place in np.argsort(assignment.layout))
        for use in list(value.uses()):
            if use.node.op_type == "Transpose" and integers(use.node, "perm") == back:
                self._now[use.node.outputs[0]] = selected
                replace_value(use.node.outputs[0], selected)
        self._now[value] = turned
        replace_value(value, turned)

    def _comparisons(self, emit: Emitter, base: ir.Value, axis: int, part: Part, rank: int) -> list[ir.Value]:
        """What tells the places of a part from the others: none where it begins or ends with the axis."""
        places, size = self._counted(emit, self._first.get(base, base), axis, rank)
        start, end = part
        known = array_of(size)
        comparisons = []
        if start != 0:
            comparisons.append(emit("GreaterOrEqual", places, _end(emit, start, size)))
        if end < (LAST if known is None else int(known)):
            comparisons.append(emit("Less", places, _end(emit, end, size)))
        return comparisons

    def _counted(self, emit: Emitter, first: ir.Value, axis: int, rank: int) -> tuple[ir.Value, ir.Value]:
        """0, 1, 2, ... along one axis, which broadcasts against the tensor, and the size of the axis."""
        if (first, axis) not in self._places:
            known = static_dimension(first, axis)
            if known is None:
                size = emit("Squeeze", emit("Shape", first, start=axis, end=axis + 1))
            else:
                size = emit.constant(known)
            places = emit("Range", emit.constant(0), size, emit.constant(1))
            others = [other for other in range(rank) if other != axis]
            self._places[first, axis] = emit("Unsqueeze", places, emit.constant(others)) if others else places, size
        return self._places[first, axis]


def _end(emit: Emitter, place: int, size: ir.Value) -> ir.Value:
    return emit.constant(place) if place >= 0 else emit("Add", size, emit.constant(place))


def _match(node: ir.Node, found: Mapping[ir.Value, Assignment]) -> Assignment | None:
    data, indices, updates = node.inputs
    reduction = node.attributes.get("reduction")
    if reduction is not None and reduction.as_string() != "none":
        return None
    base, layout = _untransposed(data)
    part = _part(indices, base, layout) if base is not None and layout else None
    if base is None or part is None:
        return None
    written, turned = _untransposed(updates, TURNS)
    fill = _fill(written)
    if fill is not None:
        return Assignment(base, layout, {layout[0]: part}, fill)
    inner = None if written is None else found.get(written)
    if inner is None or tuple(inner.layout[axis] for axis in turned) != layout or layout[0] in inner.parts:
        return None
    if not _is_slice(inner.base, base, layout[0], part):
        return None
    return Assignment(base, layout, {**inner.parts, layout[0]: part}, inner.fill)


def _written(value: ir.Value, found: Mapping[ir.Value, Assignment]) -> list[ir.Value]:
    """The scatter whose result a scatter writes, if nobody else reads that."""
    node = value.producer()
    written = None if node is None else _untransposed(node.inputs[2], TURNS)[0]
    return [written] if written is not None and written in found and len(list(written.uses())) == 1 else []


def _untransposed(value: ir.Value | None, most: int = 1) -> tuple[ir.Value | None, tuple[int, ...]]:
    """What a value was before it was transposed, ``most`` times at most, and how; nothing if its rank is unknown."""
    layout: tuple[int, ...] | None = None
    while most and (node := producer_of(value, "Transpose")) is not None:
        turned = integers(node, "perm")
        layout = turned if layout is None else tuple(turned[axis] for axis in layout)
        value, most = node.inputs[0], most - 1
    if layout is None and value is not None and value.shape is not None:
        layout = tuple(range(len(value.shape)))
    return value, layout or ()


def _fill(value: ir.Value | None) -> np.ndarray | None:
    """The number that a tensor is full of; any of an empty one."""
    node = producer_of(value, "Expand")
    constant = array_of(value if node is None else node.inputs[0])
    if constant is None:
        return None
    if constant.size == 0:  # what an exporter folded: nothing is written, into an empty slice
        return np.zeros((), constant.dtype)
    first = np.array(constant.flat[0])
    return first if constant.tobytes() == first.tobytes() * constant.size else None


def _part(indices: ir.Value | None, base: ir.Value, layout: tuple[int, ...]) -> Part | None:
    """The slice of the base's axis that stands first, at whose places is written."""
    constant = array_of(indices)
    if constant is not None:
        first = int(constant.flat[0]) if constant.size else 0
        in_order = first + np.arange(len(constant))[:, None]
        size = static_dimension(base, layout[0])
        fits = size is not None and first >= 0 and first + len(constant) <= size
        return (first, first + len(constant)) if fits and np.array_equal(constant, in_order) else None
    column = producer_of(indices, "Unsqueeze")
    axes = None if column is None else array_of(column.inputs[1])
    chosen = None if column is None else producer_of(column.inputs[0], "Slice")
    if chosen is None or axes is None or axes.tolist() not in ([-1], [1]):
        return None
    counted = producer_of(chosen.inputs[0], "Range")
    found = _slice_of(chosen, static_dimension(base, layout[0]))
    if counted is None or found is None or found[0] != 0:
        return None
    first, step = (array_of(counted.inputs[index]) for index in (0, 2))
    if first is None or step is None or (int(first), int(step)) != (0, 1):
        return None
    return found[1] if _is_size(counted.inputs[1], base, layout[0]) else None


def _is_size(value: ir.Value | None, base: ir.Value, axis: int) -> bool:
    """Whether a scalar is the size of the base along the axis."""
    gathered = producer_of(value, "Gather")
    shape = None if gathered is None else producer_of(gathered.inputs[0], "Shape")
    index = None if gathered is None else array_of(gathered.inputs[1])
    if shape is None or index is None or index.size != 1 or shape.inputs[0] is not base:
        return False
    start = shape.attributes.get("start")
    return int(index.reshape(-1)[0]) == axis and (start is None or start.as_int() == 0)


def _slice_of(node: ir.Node, size: int | None) -> tuple[int, Part] | None:
    """Axis, start and end of a slice of one axis by constants, step 1; both from 0 to its size if that is known."""
    ends = [array_of(value) for value in node.inputs[1:]]
    if len(ends) < 3 or any(each is None or each.size != 1 for each in ends):
        return None
    start, end, axis, *step = (int(each.reshape(-1)[0]) for each in ends if each is not None)
    if step not in ([], [1]):
        return None
    return axis, (start, end) if size is None else slice(start, end).indices(size)[:2]


def _is_slice(value: ir.Value, base: ir.Value, axis: int, part: Part) -> bool:
    node = producer_of(value, "Slice")
    return node is not None and node.inputs[0] is base and _slice_of(node, static_dimension(base, axis)) == (axis, part)
