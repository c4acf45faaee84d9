"""What a super-resolution network is made of, read off its graph: blocks, attention, the last sum, what is behind it.

No name of a network is known here. Everything follows from which nodes stand between which: the ancestors of a node
are a set of bits, so that "between a map and the sum that takes it in again" is a difference of two such sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.export.graph import array_of
from defian_edge.export.precision.int8.maps import (
    BESIDE,
    fork_of,
    gate_of,
    groups_of,
    is_map,
    is_strip,
    rescaled,
    same_size,
    weight_shape,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx_ir as ir

NARROWEST = 12
"""Fewer channels on either side, or in each group, and INT8 gains nothing: tensor cores multiply 16 or 32 at a time."""
LINEAR = ("Conv", "ConvTranspose", "MatMul", "Gemm")
AXES = {"Conv": 0, "MatMul": 1}
"""Operators that compilers compute in INT8 behind Q/DQ -> axis of the output channels in their weights."""


@dataclass(frozen=True)
class Block:
    """A residual block: the sum that takes a map in again, and the convolutions between.

    Attributes:
        addition: the sum.
        carried: the map, as the sum reads it.
        convolutions: those of the branch that are wide, attention aside, in graph order; the weights of some may be
            computed.
    """

    addition: ir.Node
    carried: ir.Value
    convolutions: tuple[ir.Node, ...]

    @property
    def total(self) -> ir.Value:
        """The block's result."""
        return self.addition.outputs[0]


@dataclass(frozen=True)
class Attention:
    """A branch that says how much of a map passes.

    Attributes:
        convolutions: the wide ones, in graph order.
        members: all that read maps, whatever their width.
    """

    convolutions: tuple[ir.Node, ...]
    members: tuple[ir.Node, ...]


class Structure:
    """The parts of one FP32 or FP16 graph, whose nodes are in order and whose shapes are inferred.

    Attributes:
        blocks: residual blocks with no other inside, in the order of their sums.
        attention: branches that end in a gate and have no block in them; a convolution is in the innermost.
        upscaling: the wide convolutions behind the last sum that a convolution reads; without such a sum those with
            no wide convolution behind them.
        last_sum: that sum.
        left_out: name or number of every other convolution -> why it is not wide, in words.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._nodes = list(graph)
        self._bits = {node: 1 << index for index, node in enumerate(self._nodes)}
        self._before = self._ancestors()
        self.left_out: dict[str, str] = {}
        self.wide = tuple(self._wide())
        self._wide_bits = self._union(self.wide)
        self._linear_bits = self._union(node for node in self._nodes if node.op_type in LINEAR)
        sums = [node for node in self._nodes if self._is_sum(node)]
        residual = [(node, found) for node in sums if (found := self._residual(node))]
        inner = self._union(node for node, _ in residual)
        leaves = [(node, found) for node, found in residual if not found[1] & (inner & ~self._bits[node])]
        if len(leaves) == 1 and not any(self._bits[leaves[0][0]] & found[1] for _, found in residual):
            leaves = []  # one sum over the whole network, whose convolutions are parts of their own
        branches = self._gated_branches(self._union(node for node, _ in leaves))
        self.attention = tuple(self._as_attention(branches))
        gated = self._union(node for each in self.attention for node in each.convolutions)
        self.blocks = tuple(self._as_blocks(leaves, gated))
        in_gates = 0
        for branch in branches:
            in_gates |= branch
        behind = [node for node in sums if not self._bits[node] & in_gates and self._is_read_by_wide(node)]
        self.last_sum = behind[-1] if behind else None
        inside = gated | self._union(node for block in self.blocks for node in block.convolutions)
        self.upscaling = tuple(node for node in self._last() if not self._bits[node] & inside)

    def _ancestors(self) -> dict[ir.Node, int]:
        """Node -> the bits of it and of everything in front of it."""
        before: dict[ir.Node, int] = {}
        for node in self._nodes:
            bits = self._bits[node]
            for value in node.inputs:
                producer = None if value is None else value.producer()
                bits |= before.get(producer, 0) if producer is not None else 0
            before[node] = bits
        return before

    def _union(self, nodes: Iterable[ir.Node]) -> int:
        bits = 0
        for node in nodes:
            bits |= self._bits[node]
        return bits

    def _nodes_of(self, bits: int) -> Iterator[ir.Node]:
        return (node for node in self.wide if self._bits[node] & bits)

    def before(self, value: ir.Value | None) -> int:
        """The bits of everything that the value is computed from."""
        producer = None if value is None else value.producer()
        return 0 if producer is None else self._before.get(producer, 0)

    def inside(self, block: Block) -> Iterator[ir.Node]:
        """The nodes of a block in order: what its sum is computed from and what it carries is not, the sum as well."""
        bits = self.before(block.total) & ~self.before(block.carried)
        return (node for node in self._nodes if self._bits[node] & bits)

    def _wide(self) -> Iterator[ir.Node]:
        """Convolutions of maps, and products of tokens, with enough channels on both sides.

        The last may write as few as a picture has.
        """
        ahead = self._reads_on()
        for index, node in enumerate(self._nodes):
            product = node.op_type == "MatMul" and array_of(node.inputs[1]) is not None
            if product or node.op_type in ("Conv", "ConvTranspose", "Gemm"):
                why = self._why_not(node, last=not ahead[node])
                if why:
                    self.left_out[node.name or f"node {index}"] = why
                else:
                    yield node

    def _reads_on(self) -> dict[ir.Node, bool]:
        """Node -> whether a convolution or matrix product is behind it."""
        ahead = dict.fromkeys(self._nodes, False)
        for node in reversed(self._nodes):
            readers = [use.node for output in node.outputs for use in output.uses()]
            ahead[node] = any(reader.op_type in LINEAR or ahead.get(reader, False) for reader in readers)
        return ahead

    def _why_not(self, node: ir.Node, *, last: bool) -> str:
        """What keeps a convolution or product from being wide, in words; empty if nothing does."""
        shape = weight_shape(node)
        if node.op_type not in AXES or len(shape) != (4 if node.op_type == "Conv" else 2):
            return f"a {node.op_type} with such weights is computed in FP16 behind Q/DQ"
        if not is_map(node.inputs[0]):
            return "it computes a vector of the whole picture"
        if is_strip(node.inputs[0]):
            return "it reads a strip of a map"
        groups = groups_of(node)
        outputs, inputs = (shape[0] // groups, shape[1]) if node.op_type == "Conv" else (shape[1], shape[0])
        if groups > 1 and min(inputs, outputs) < NARROWEST:
            return f"its {groups} groups have fewer than {NARROWEST} channels"
        if inputs < NARROWEST or (outputs < NARROWEST and not last):
            return f"it has fewer than {NARROWEST} channels on one side"
        return "" if self._linear_before(node) else "it reads the image"

    def _linear_before(self, node: ir.Node) -> bool:
        """Whether a convolution or matrix product is in front of the node."""
        pending, seen = [node], {node}
        while pending:
            for value in pending.pop().inputs:
                producer = None if value is None else value.producer()
                if producer is None or producer in seen:
                    continue
                if producer.op_type in LINEAR:
                    return True
                seen.add(producer)
                pending.append(producer)
        return False

    def _is_sum(self, node: ir.Node) -> bool:
        """Whether it adds two maps of one size that the graph computes."""
        values = list(node.inputs)
        if node.op_type != "Add" or any(value is None or value.producer() is None for value in values):
            return False
        if (node.name or "").endswith(BESIDE):
            return False
        return all(is_map(value) and array_of(value) is None for value in values) and same_size(*values)

    def _residual(self, node: ir.Node) -> tuple[ir.Value, int] | None:
        """What a sum carries and the bits of the branch beside it; None if it is no residual sum.

        Wide convolutions stand on one side, nothing is convolved on the other, and what that carries is no picture.
        """
        first, second = (self.before(value) for value in node.inputs)
        branches = (first & ~second, second & ~first)
        if branches[0] & self._linear_bits and branches[1] & self._linear_bits:
            return None
        branch, carried = (
            (branches[0], node.inputs[1]) if branches[0] & self._wide_bits else (branches[1], node.inputs[0])
        )
        if not branch & self._wide_bits:
            return None
        if carried is None or not self.before(carried) & self._linear_bits:
            return None
        return carried, branch

    def _gated_branches(self, blocks: int) -> list[int]:
        """The bits of every branch that ends in a gate, with wide convolutions and none of the blocks, small first."""
        found = []
        for node in self._nodes:
            gate = gate_of(node)
            if gate is not None:
                other = next(value for value in node.inputs if value is not gate)
                branch = self.before(gate) & ~self.before(other)
                if branch & self._wide_bits and not branch & blocks:
                    found.append(branch)
        return sorted(found, key=int.bit_count)

    def _as_attention(self, branches: list[int]) -> Iterator[Attention]:
        taken = 0
        for branch in branches:
            convolutions = tuple(self._nodes_of(branch & ~taken))
            if convolutions:
                beside = [
                    node
                    for node in self._nodes
                    if self._bits[node] & branch & ~taken
                    and node.op_type in ("Conv", "ConvTranspose")
                    and is_map(node.inputs[0])
                ]
                yield Attention(convolutions, tuple(beside))
            taken |= branch

    def _as_blocks(self, leaves: list[tuple[ir.Node, tuple[ir.Value, int]]], gated: int) -> Iterator[Block]:
        taken = gated
        for node, (carried, branch) in leaves:
            convolutions = tuple(self._nodes_of(branch & ~taken))
            taken |= branch
            if convolutions:
                yield Block(node, fork_of(carried), convolutions)

    def reads_last_sum(self, value: ir.Value) -> bool:
        """Whether a value is the last sum, or what scales its channels."""
        return self.last_sum is not None and value in (self.last_sum.outputs[0], rescaled(self.last_sum.outputs[0]))

    def _is_read_by_wide(self, node: ir.Node) -> bool:
        return any(self._before[each] & self._bits[node] for each in self.wide)

    def _last(self) -> Iterator[ir.Node]:
        if self.last_sum is not None:
            yield from (node for node in self.wide if self._before[node] & self._bits[self.last_sum])
            return
        for node in self.wide:
            if not any(self._before[each] & self._bits[node] for each in self.wide if each is not node):
                yield node
