"""Where INT8 may stand: convolutions by the names of their weights, feature maps by what they connect."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from defian_edge.export.graph import array_of, nodes_of_type, only_consumer, producer_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

BLOCK = re.compile(r"^(body\.\d+\.body_block\.\d+)\.block\.([02])$")
ATTENTION = re.compile(r"^(body\.\d+\.coder)\.\d+\.(?:encoder|decoder)\.\d+$")
MODULE = re.compile(r"^(body\.\d+)\.")
UPSCALE = re.compile(r"^(?:upscale(?:\.\d+)*|output)$")
TAIL = "tail"
NARROWEST = 12
"""Attention convolutions with fewer channels on either side stay FP16, such as the one that reads eigenvalues."""
SCALED, UNSCALED, CARRIED = ".scaled", ".unscaled", ".carried"
"""Suffixes of a feature map's name where its channels were scaled to one range, where that was undone, and of a sum's
where what it adds to was brought to its scale."""


class Scope(str, Enum):
    """What is INT8.

    ``convolutions``: inputs and weights of the residual-block convolutions, tail, upscale, and the wide
    convolutions of the attention's encoder and decoder. ``features``: those, and every feature map of C
    channels that is written by one fused kernel and read by another, the residual stream included.
    """

    CONVOLUTIONS = "convolutions"
    FEATURES = "features"


@dataclass(frozen=True)
class ConvolutionSite:
    """A convolution whose input and weight may be INT8: the node's name, the tensor it reads, its group."""

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

    def only(self, groups: frozenset[str]) -> Sites:
        """The sites of some groups."""
        return Sites(
            tuple(site for site in self.convolutions if site.group in groups),
            tuple(site for site in self.features if site.group in groups),
        )


def find_sites(model: ir.Model, scope: Scope) -> Sites:
    """All sites of a FP32 or FP16 graph, plain or rewritten."""
    nodes = {node.name: node for node in nodes_of_type(model.graph, "Conv") if node.name}
    convolutions = tuple(
        ConvolutionSite(name, node.inputs[0].name, group)
        for name, node in nodes.items()
        if (group := _group(name, node)) and node.inputs[0] is not None and node.inputs[0].name
    )
    if scope is Scope.CONVOLUTIONS:
        return Sites(convolutions, ())
    features = {site.tensor: site for site in _features(nodes)}
    return Sites(convolutions, tuple(features.values()))


def _group(name: str, node: ir.Node) -> str:
    weight = array_of(node.inputs[1])
    if weight is None:
        return ""
    if block := BLOCK.match(name):
        return block[1]
    if attention := ATTENTION.match(name):
        return attention[1] if min(weight.shape[:2]) >= NARROWEST else ""
    if name == TAIL:
        return TAIL
    return "upscale" if UPSCALE.match(name) else ""


def _features(nodes: dict[str, ir.Node]) -> Iterator[FeatureSite]:
    """Stream before each block, between its convolutions, its result, the sum behind it; inputs of tail and upscale."""
    for name, node in nodes.items():
        block, source = BLOCK.match(name), node.inputs[0]
        if source is None or not source.name:
            continue
        if block is None:
            if name == TAIL or (UPSCALE.match(name) and _reads_features(node, nodes)):
                yield FeatureSite(source.name, TAIL if name == TAIL else "upscale")
            continue
        if block[2] == "0":
            yield FeatureSite(source.name, stream_of(block[1]))
            continue
        yield FeatureSite(source.name, block[1])
        result = node.outputs[0]
        if result.name:
            yield FeatureSite(result.name, block[1])
        found = block_sum(result)
        total = None if found is None else rescaled(found.total)
        if total is not None and total.name:
            yield FeatureSite(total.name, stream_of(block[1]))


def stream_of(block: str) -> str:
    """``body.3.body_block.7`` -> ``body.3.stream``."""
    return f"{block.split('.body_block', maxsplit=1)[0]}.stream"


def is_stream(group: str) -> bool:
    """Whether a group is the residual stream of a module."""
    return group.endswith(".stream")


def is_module(part: str) -> bool:
    """Whether a name of :attr:`Sites.parts` is that of a module."""
    return MODULE.fullmatch(f"{part}.") is not None


def origin_of(tensor: str) -> str:
    """The feature map whose channels were scaled, or the tensor itself."""
    return tensor.removesuffix(SCALED)


def rescaled(value: ir.Value) -> ir.Value:
    """What the value's only reader makes of it, if that is a scaling of its channels; else the value."""
    reader = only_consumer(value, "Mul")
    return reader.outputs[0] if reader is not None and (reader.name or "").endswith(SCALED) else value


def _reads_features(node: ir.Node, nodes: dict[str, ir.Node]) -> bool:
    """Whether an upscaling convolution reads the body's C channels, and not what another one made of them."""
    tail = nodes.get(TAIL)
    source = node.inputs[0]
    if tail is None or source is None:
        return False
    scaling = source.producer()
    if scaling is not None and (scaling.name or "").endswith(SCALED):
        source = scaling.inputs[0]
    addition = producer_of(source, "Add")
    return addition is not None and any(value is tail.outputs[0] for value in addition.inputs)


@dataclass(frozen=True)
class BlockSum:
    """The end of a residual block, ``total = addition(carried, gating(result, gate))``."""

    gating: ir.Node
    addition: ir.Node
    carried: ir.Value
    result: ir.Value
    gate: ir.Value

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
        carried = next((value for value in addition.inputs if value is not use.node.outputs[0]), None)
        if gate is not None and carried is not None:
            return BlockSum(use.node, addition, carried, result, gate)
    return None
