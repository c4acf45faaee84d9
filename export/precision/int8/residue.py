"""Two INT8 terms for the maps whose rounding goes straight into the picture.

Between the last residual blocks and the pixel shuffle all is linear, so a rounding error there is one of the picture,
and neither is there a range that serves a photo and a page of text. A convolution there reads its map x as
``q(x) + q(x - q(x))``: the second quantiser takes what the first one rounded off, with a step 225 times as fine. It
computes ``W q(x) + b`` and ``W q(x - q(x))``, both in INT8, and adds. With so fine a step the range costs nothing, and
it reaches :data:`REACH` times as far as the largest magnitude of the calibration.

That is one more convolution each, so only the cheapest are read so: :data:`MOST_MACS` of the network's at most. Their
maps cross memory as FP16 in the features scope as well, or there would be nothing left that a second term could read.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from defian_edge.export.graph import producer_of, with_shape
from defian_edge.export.precision.int8.structure import Structure
from defian_edge.export.roofline.counts import macs_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from defian_edge.export.precision.int8.sites import Sites

MOST_MACS = 0.05
REACH = 4.0
SIDE = 64
"""Height and width, in LR pixels, at which MACs are counted where the graph leaves them free."""


def read_in_two_terms(model: ir.Model, sites: Sites) -> frozenset[str]:
    """Names of the convolutions that read two terms.

    Args:
        model: a FP32 graph with uint8 I/O.
        sites: its sites, of either scope.
    """
    candidates = _in_front_of_the_picture(model)
    readers = Counter(site.tensor for site in sites.convolutions)
    alone = [site.node for site in sites.convolutions if site.node in candidates and readers[site.tensor] == 1]
    if not alone:
        return frozenset()
    sizes = list(model.graph.inputs[0].shape or (None,) * 4)[1:3]
    height, width = (size if isinstance(size, int) else SIDE for size in sizes)
    macs = {node.name: macs_of(node) for node in with_shape(model, (1, height, width)).graph}
    left = MOST_MACS * sum(macs.values())
    chosen = set()
    for name in sorted(alone, key=lambda name: macs[name]):
        left -= macs[name]
        if left < 0:
            break
        chosen.add(name)
    return frozenset(chosen)


def _in_front_of_the_picture(model: ir.Model) -> set[str]:
    """Names of the wide convolutions of the upscaling, and of that which writes the last sum and is in no block."""
    structure = Structure(model.graph)
    inside = {node for part in (*structure.blocks, *structure.attention) for node in part.convolutions}
    found = list(structure.upscaling)
    if structure.last_sum is not None:
        found += [
            node
            for value in structure.last_sum.inputs
            if (node := producer_of(value, "Conv")) in structure.wide and node is not None and node not in inside
        ]
    return {node.name for node in found if node.name and node.op_type == "Conv"}
