"""What a super-resolution network is made of, read off its graph: blocks, attention, the last sum, what is behind it.

No name of a network is known here. Everything follows from which nodes stand between which: the ancestors of a node
are a set of bits, so that "between a map and the sum that takes it in again" is a difference of two such sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.export.graph import array_of, only_consumer, producer_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx_ir as ir

NARROWEST = 12
"""Fewer channels on either side, or in each group, and INT8 gains nothing: tensor cores multiply 16 or 32 at a time."""
FEWEST_PIXELS = 4
"""Of a map's sides: what has fewer in both is a vector of statistics, and a strip of fewer rows is no map."""
CARRIED, SCALED, BESIDE = ".carried", ".scaled", ".beside"
"""Suffixes of what :mod:`.channel_scaling` puts in front of a sum and behind a map, and of the sums behind the
convolutions of :mod:`.upscale_basis`, which no network has of its own."""
GATES = {"Sigmoid", "HardSigmoid", "Tanh", "Softmax"}
LINEAR = ("Conv", "ConvTranspose", "MatMul", "Gemm")
AXES = {"Conv": 0, "MatMul": 1}
"""Operators that compilers compute in INT8 behind Q/DQ -> axis of the output channels in their weights."""
MOVING = ("Identity", "Cast", "Expand")


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
        shape = _weight_shape(node)
        if node.op_type not in AXES or len(shape) != (4 if node.op_type == "Conv" else 2):
            return f"a {node.op_type} with such weights is computed in FP16 behind Q/DQ"
        if not is_map(node.inputs[0]):
            return "it computes a vector of the whole picture"
        if _is_strip(node.inputs[0]):
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
        return all(is_map(value) and array_of(value) is None for value in values) and _same_size(*values)

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
            gate = _gate(node)
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
                yield Block(node, _fork(carried), convolutions)

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


def _weight_shape(node: ir.Node) -> list[int]:
    """Sizes of a node's weights; empty if they are not known."""
    weight = node.inputs[1]
    array = array_of(weight)
    if array is not None:
        return list(array.shape)
    shape = [] if weight is None or weight.shape is None else list(weight.shape)
    return [size for size in shape if isinstance(size, int)]


def groups_of(convolution: ir.Node) -> int:
    """Into how many groups a convolution divides its channels."""
    group = convolution.attributes.get("group")
    return 1 if group is None else group.as_int()


def is_map(value: ir.Value | None) -> bool:
    """Whether a value is a feature map [N, C, H, W] of more than a handful of pixels, as far as is known.

    Or tokens: [N, L, C], [N, H, W, C], or windows of them.
    """
    if value is None:
        return False
    if value.shape is None:
        return True
    if len(value.shape) != 4:
        return len(value.shape) > 2 and value.shape[1] != 1
    sides = list(value.shape)[2:]
    return 1 not in sides and not all(isinstance(side, int) and side <= FEWEST_PIXELS for side in sides)


def _same_size(first: ir.Value | None, second: ir.Value | None) -> bool:
    """Whether nothing that is known of two maps' shapes differs."""
    if first is None or second is None or first.shape is None or second.shape is None:
        return True
    pairs = zip(list(first.shape)[1:], list(second.shape)[1:], strict=True)
    return all(one == other for one, other in pairs if isinstance(one, int) and isinstance(other, int))


def _is_strip(value: ir.Value | None) -> bool:
    """Whether the value is a few rows or columns of a map."""
    while (slicing := producer_of(value, "Slice")) is not None:
        starts, ends, axes = (
            array_of(slicing.inputs[index]) if len(slicing.inputs) > index else None for index in (1, 2, 3)
        )
        if starts is not None and ends is not None and axes is not None:
            for start, end, axis in zip(starts.tolist(), ends.tolist(), axes.tolist(), strict=True):
                taken = end - start if start * end >= 0 else -start if start < 0 else end
                if axis % 4 in (2, 3) and 0 < taken <= FEWEST_PIXELS:
                    return True
        value = slicing.inputs[0]
    return False


def _gate(node: ir.Node) -> ir.Value | None:
    """The factor of a product that says how much of the other passes: behind a sigmoid, or spread over the other."""
    if node.op_type != "Mul" or any(value is None or array_of(value) is not None for value in node.inputs):
        return None
    first, second = node.inputs
    gates = [_ends_in_gate(value) for value in (first, second)]
    if gates[0] != gates[1]:
        return first if gates[0] else second
    spread = [_is_spread(value, other) for value, other in ((first, second), (second, first))]
    return None if spread[0] == spread[1] else first if spread[0] else second


def _ends_in_gate(value: ir.Value | None) -> bool:
    """Whether a sigmoid is behind the value, with nothing but factors and summands that are constant between."""
    producer = None if value is None else value.producer()
    while producer is not None and producer.op_type not in GATES:
        computed = [each for each in producer.inputs if each is not None and array_of(each) is None]
        passes = producer.op_type in (*MOVING, "Mul", "Add", "Sub", "Div") and len(computed) >= 1
        if not passes or (producer.op_type not in MOVING and len(computed) > 1):
            return False
        producer = computed[0].producer()
    return producer is not None


def _is_spread(value: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether the value has one channel, or one pixel, where the other has more."""
    if value is None or other is None or value.shape is None or other.shape is None:
        return False
    own, beside = list(value.shape), list(other.shape)
    if len(own) != 4 or len(beside) != 4:
        return False
    return any(mine == 1 and yours != 1 for mine, yours in zip(own[1:], beside[1:], strict=True))


def _fork(value: ir.Value) -> ir.Value:
    """The map that a sum carries, in front of what only scales it for the sum."""
    while True:
        node = value.producer()
        if node is None or (node.name or "").endswith(SCALED):
            return value
        computed = [each for each in node.inputs if each is not None and array_of(each) is None]
        scales = node.op_type == "Mul" and len(computed) == 1
        if not scales and node.op_type not in ("Identity", "Cast"):
            return value
        value = computed[0]


def rescaled(value: ir.Value) -> ir.Value:
    """What the value's only reader makes of it, if that is a scaling of its channels; else the value."""
    reader = only_consumer(value, "Mul")
    return reader.outputs[0] if reader is not None and (reader.name or "").endswith(SCALED) else value
