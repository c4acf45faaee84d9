"""How much of the network lies behind the sites that may be INT8: MACs, and bytes of feature maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.export.graph import nodes_of_type, with_shape
from defian_edge.export.precision.int8.sites import origin_of
from defian_edge.export.roofline.counts import macs_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from defian_edge.export.precision.int8.sites import Sites


class Shares:
    """MACs and bytes behind every site, counted on the graph itself at one shape.

    Args:
        model: a FP32 graph.
        everything: its sites of the features scope.
        shape: LR batch, height and width.
    """

    def __init__(self, model: ir.Model, everything: Sites, shape: tuple[int, int, int]) -> None:
        concrete = with_shape(model, shape)
        self._macs = {node.name or str(index): macs_of(node) for index, node in enumerate(concrete.graph)}
        self._total_macs = sum(self._macs.values())
        readers = {site.tensor for site in everything.convolutions}
        values = {value.name: value for node in concrete.graph for value in node.outputs}
        self._elements = {
            site.tensor: int(np.prod(values[site.tensor].shape.numpy()))  # type: ignore[union-attr]
            for site in everything.features
        }
        uses = {node.inputs[0].name: node for node in nodes_of_type(model.graph, "Conv") if node.inputs[0] is not None}
        self._private = {
            tensor
            for tensor in self._elements
            if tensor in readers and len(uses[tensor].inputs[0].uses()) == 1  # type: ignore[union-attr]
        }

    def macs(self, sites: Sites) -> float:
        """INT8 share of the MACs; 0 of a graph without any."""
        return sum(self._macs[site.node] for site in sites.convolutions) / max(self._total_macs, 1)

    def bytes(self, sites: Sites) -> float:
        """Share of the feature maps' FP16 bytes, of the maps that every reader reads as INT8."""
        quantised = {origin_of(site.tensor) for site in sites.features}
        quantised |= {site.tensor for site in sites.convolutions if site.tensor in self._private}
        total = sum(self._elements.values())
        return sum(size for name, size in self._elements.items() if name in quantised) / total if total else 0.0
