"""Where INT8 may stand: wide convolutions, and the feature maps that connect them, by the structure of the graph."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from defian_edge.export.graph import array_of, only_consumer
from defian_edge.export.precision.int8.groups import STREAM, Groups
from defian_edge.export.precision.int8.maps import SCALED, is_map, rescaled
from defian_edge.export.precision.int8.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import onnx_ir as ir

UNSCALED = ".unscaled"
"""Suffix of a feature map's name where the scaling of its channels was undone."""
MODULE = re.compile(r"((?:[A-Za-z_]\w*\.)+\d+)\.")
"""What the names of a module's groups begin with: the path up to its first number."""


class Scope(str, Enum):
    """What is INT8.

    ``convolutions``: inputs and weights of the wide convolutions: of residual blocks, attention, upscaling, and those
    between; and of products of tokens with constant weights, as in transformers. ``features``: those, and
    every feature map of C channels that is written by one fused kernel and read by another, the residual stream
    included. A :class:`~export.precision.int8.recipe.Recipe` leaves some of these FP16.
    """

    CONVOLUTIONS = "convolutions"
    FEATURES = "features"


@dataclass(frozen=True)
class ConvolutionSite:
    """A convolution or product whose input and weight may be INT8: the node's name, the tensor it reads, its group."""

    node: str
    tensor: str
    group: str


@dataclass(frozen=True)
class FeatureSite:
    """A feature map of C channels that all its readers may read as INT8."""

    tensor: str
    group: str


@dataclass(frozen=True)
class Sites:
    """Everything that may be INT8 in one graph, in graph order."""

    convolutions: tuple[ConvolutionSite, ...]
    features: tuple[FeatureSite, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups: blocks, attention, tail, upscale, and the residual stream of each module."""
        return tuple(dict.fromkeys(site.group for site in (*self.convolutions, *self.features)))

    @property
    def parts(self) -> dict[str, frozenset[str]]:
        """Name -> groups: every group alone, and every module with all of its groups."""
        parts = {group: frozenset({group}) for group in self.groups}
        for group in self.groups:
            if module := MODULE.match(group):
                parts[module[1]] = parts.get(module[1], frozenset()) | {group}
        return parts

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all tensors that need a range."""
        return tuple(sorted({site.tensor for site in (*self.convolutions, *self.features)}))

    def without_maps(self, tensors: Collection[str]) -> Sites:
        """The same but for some feature maps; convolutions that read those quantise what they read themselves."""
        return Sites(self.convolutions, tuple(site for site in self.features if site.tensor not in tensors))

    def only(self, groups: frozenset[str]) -> Sites:
        """The sites of some groups."""
        return Sites(
            tuple(site for site in self.convolutions if site.group in groups),
            tuple(site for site in self.features if site.group in groups),
        )


def find_sites(model: ir.Model, scope: Scope) -> Sites:
    """All sites of a FP32 or FP16 graph, plain or rewritten, whose nodes are in order and whose shapes are inferred.

    A convolution without a name of its own is none; see :func:`defian_edge.export.precision.int8.groups.named`.
    """
    structure = Structure(model.graph)
    groups = Groups(structure)
    convolutions = tuple(
        ConvolutionSite(node.name, node.inputs[0].name, groups.of[node])
        for node in structure.wide
        if node.name and array_of(node.inputs[1]) is not None and node.inputs[0] is not None and node.inputs[0].name
    )
    if scope is Scope.CONVOLUTIONS:
        return Sites(convolutions, ())
    features: dict[str, FeatureSite] = {}
    for value, group in _features(structure, groups):
        if value.name and is_map(value) and not value.is_graph_output():
            features.setdefault(value.name, FeatureSite(value.name, group))
    return Sites(convolutions, tuple(features.values()))


def _features(structure: Structure, groups: Groups) -> Iterator[tuple[ir.Value, str]]:
    """Stream before each block, between its convolutions, its result, the sum behind it; inputs of the others.

    Of the upscaling that is what reads the last sum, of attention and of tokens nothing.
    """
    blocks = {node: block for block in structure.blocks for node in block.convolutions}
    tokens = {block for block in structure.blocks if any(node.op_type != "Conv" for node in block.convolutions)}
    gated = {node for each in structure.attention for node in each.convolutions}
    for node in structure.wide:
        block, source = blocks.get(node), node.inputs[0]
        if source is None or node in gated or node.op_type != "Conv" or block in tokens:
            continue
        if block is None:
            if node not in structure.upscaling or structure.reads_last_sum(source):
                yield source, groups.of[node]
            continue
        if node is block.convolutions[0]:
            yield block.carried, groups.streams[block]
        if source is not block.carried:
            yield source, groups.of[node]
        if node is block.convolutions[-1]:
            found = block_sum(node.outputs[0])
            if found is not None and array_of(node.inputs[1]) is not None:  # else the gate is in the weights
                yield node.outputs[0], groups.of[node]
            yield rescaled(block.total), groups.streams[block]


def is_stream(group: str) -> bool:
    """Whether a group is the residual stream of a module."""
    return group.endswith(f".{STREAM}")


def is_module(part: str, parts: Collection[str]) -> bool:
    """Whether a name among those of :attr:`Sites.parts` is that of a module, which has groups of its own."""
    return any(other.startswith(f"{part}.") for other in parts)


def origin_of(tensor: str) -> str:
    """The feature map whose channels were scaled, or the tensor itself."""
    return tensor.removesuffix(SCALED)


@dataclass(frozen=True)
class BlockSum:
    """The end of a residual block, ``total = addition(carried, gating(result, gate))``, or without a gate."""

    gating: ir.Node | None
    addition: ir.Node
    carried: ir.Value
    result: ir.Value
    gate: ir.Value | None

    @property
    def total(self) -> ir.Value:
        """The block's result."""
        return self.addition.outputs[0]


def block_sum(result: ir.Value) -> BlockSum | None:
    """The sum behind what a block's last convolution wrote, if there is one."""
    for use in result.uses():
        addition = only_consumer(use.node.outputs[0], "Add") if use.node.op_type == "Mul" else None
        if addition is None:
            continue
        gate = use.node.inputs[1 - use.idx]
        if array_of(gate) is not None:
            continue  # a factor is no gate
        carried = next((value for value in addition.inputs if value is not use.node.outputs[0]), None)
        if gate is not None and carried is not None:
            return BlockSum(use.node, addition, carried, result, gate)
    return None
