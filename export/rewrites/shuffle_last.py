"""Clamping and rounding before the pixel shuffle instead of behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.graph import nodes_of_type, only_consumer, replace_value
from defian_edge.export.rewrites.base import Rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

POINTWISE = ("Clip", "Round")


class ShuffleLast(Rewrite):
    """Elementwise operators with scalar operands commute with a permutation of the elements.

    A pixel shuffle only moves values, so ``round(clip(shuffle(x))) = shuffle(round(clip(x)))``. Done in
    this order the compiler can fuse the post-processing with the convolution before the shuffle.

    Precondition: DepthToSpace read only by a chain of Clip (scalar bounds) and Round.
    """

    name = "shuffle-last"
    summary = "clamp and round before the pixel shuffle"
    operator = "DepthToSpace"
    place = "read by clamping and rounding alone"
    after = frozenset({"affine-folding", "upscale-output"})

    def rewrite(self, model: ir.Model) -> int:
        return sum(_move(node) for node in nodes_of_type(model.graph, "DepthToSpace"))


def _move(shuffle: ir.Node) -> bool:
    chain = []
    node = only_consumer(shuffle.outputs[0])
    while node is not None and node.op_type in POINTWISE and not node.outputs[0].is_graph_output():
        chain.append(node)
        node = only_consumer(node.outputs[0])
    if not chain:
        return False
    graph = shuffle.graph
    last = chain[-1].outputs[0]
    replace_value(last, shuffle.outputs[0])
    chain[0].replace_input_with(0, shuffle.inputs[0])
    shuffle.replace_input_with(0, last)
    if graph is not None:
        graph.remove(shuffle)
        graph.insert_after(chain[-1], shuffle)
    for moved in chain:
        moved.outputs[0].shape = None
    return True
