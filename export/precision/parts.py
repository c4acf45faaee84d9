"""The parts of a network that have one type or another together: its residual blocks, and what is between them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from defian_edge.export.precision.int8.groups import Groups, named
from defian_edge.export.precision.int8.structure import LINEAR, Structure

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx_ir as ir

MOST_PARTS = 12
"""Every part is measured alone; those that follow each other are one where there are more."""
BEFORE = "before"
"""The part in front of the first convolution."""


def parts_of(model: ir.Model, nodes: Collection[str]) -> dict[str, frozenset[str]]:
    """Part -> its nodes, in the graph's order; every one of the nodes is in one part.

    A residual block with no other inside is a part, named as the groups of INT8 are. Outside of blocks a part begins
    with a convolution or matrix product and goes on to the next; those of the upscaling are one.

    Args:
        model: FP32 graph whose shapes are inferred; it is not changed.
        nodes: names of the first outputs of those nodes that have parts; the others have none.
    """
    graph = named(model).graph
    structure = Structure(graph)
    groups = Groups(structure)
    held: dict[ir.Node, str] = {}
    for block in structure.blocks:
        held |= {node: groups.of[block.convolutions[-1]] for node in structure.inside(block) if node not in held}
    found: dict[str, set[str]] = {}
    order = {node: index for index, node in enumerate(graph)}
    for node in graph:
        if node not in held:
            held[node] = _between(node, held, groups.of, order)
        name = node.outputs[0].name or ""
        if name in nodes:
            found.setdefault(held[node], set()).add(name)
    return _few(found)


def _between(
    node: ir.Node, held: Mapping[ir.Node, str], groups: Mapping[ir.Node, str], order: Mapping[ir.Node, int]
) -> str:
    """The part of a node that is in no block: its own if it is a convolution, else that of what it reads last."""
    if node.op_type in LINEAR:
        return groups.get(node) or node.name or f"{node.op_type.lower()}_{order[node]}"
    producers = [value.producer() for value in node.inputs if value is not None]
    known = [producer for producer in producers if producer is not None and producer in held]
    return held[max(known, key=order.__getitem__)] if known else BEFORE


def _few(parts: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    """No more than :data:`MOST_PARTS`, of neighbours as evenly as it goes, each named after its first and last."""
    names, count = list(parts), min(len(parts), MOST_PARTS)
    merged = {}
    for index in range(count):
        chunk = names[index * len(names) // count : (index + 1) * len(names) // count]
        label = chunk[0] if len(chunk) == 1 else f"{chunk[0]} to {chunk[-1]}"
        merged[label] = frozenset(node for name in chunk for node in parts[name])
    return merged


def elements_of(model: ir.Model, parts: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Part -> elements that its nodes write, one at least.

    Args:
        model: the graph with static shapes, as :func:`defian_edge.export.graph.with_shape` gives it.
        parts: as :func:`parts_of` gives them.
    """
    sizes = {node.outputs[0].name: _elements(node.outputs[0]) for node in model.graph}
    return {name: max(1, sum(sizes.get(node, 0) for node in nodes)) for name, nodes in parts.items()}


def _elements(value: ir.Value) -> int:
    return math.prod(size for size in value.shape or () if isinstance(size, int))
