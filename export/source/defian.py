"""A DeFiAN checkpoint as the network of an export: traced with its eigenvalue operator, run by PyTorch."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from defian_edge.export.reference import reference_evaluations
from defian_edge.export.source.base import SourceNetwork
from defian_edge.export.trace.network import trace

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from defian_edge.calibration.drift.evaluation import Evaluation
    from defian_edge.export.trace.network import Io
    from defian_edge.models.checkpoint import Checkpoint
    from defian_edge.models.defian import DeFiAN


class DefianNetwork(SourceNetwork):
    """A checkpoint, its graph and its reference network.

    Args:
        checkpoint: the weights.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.name, self.scale, self.sha256 = checkpoint.name, checkpoint.scale, checkpoint.sha256
        self.description = str(checkpoint.architecture)
        self.reach: dict[str, Any] = {"whole_image": True}  # its attention averages over the image
        self.source: dict[str, Any] = {}

    @cached_property
    def network(self) -> DeFiAN:
        """The PyTorch network with these weights."""
        return self.checkpoint.network()

    def renamed(self, name: str) -> DefianNetwork:
        """The same checkpoint under another name."""
        return DefianNetwork(replace(self.checkpoint, name=name))

    def trace(self, io: Io) -> ir.Model:
        """See :func:`defian_edge.export.trace.network.trace`."""
        return trace(self.checkpoint, io)

    def evaluate(self, lr: np.ndarray) -> Evaluation:
        """PyTorch's picture of uint8 RGB [H, W, 3], in FP32 on the CPU."""
        return reference_evaluations(self.network, [lr])[0]
