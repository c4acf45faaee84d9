"""Numeric proofs: a graph's values before rounding against the PyTorch reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import torch

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.export.graph import copy_of
from defian_edge.models.defian import denormalise, normalise

if TYPE_CHECKING:
    from defian_edge.models.checkpoint import Checkpoint


def without_rounding(model: ir.Model) -> ir.Model:
    """A copy whose output is float32 [N, sH, sW, 3] on the scale 0 ... 255, neither clamped nor rounded."""
    copy = copy_of(model)
    graph = copy.graph
    for node in list(graph):
        if node.op_type in ("Clip", "Round") and node.inputs[0] is not None:
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0], replace_graph_outputs=True)
    cast = graph.outputs[0].producer()
    assert cast is not None
    assert cast.op_type == "Cast"
    unrounded = cast.inputs[0]
    assert unrounded is not None
    unrounded.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs[0] = unrounded
    return copy


def run_graph(model: ir.Model, images: np.ndarray) -> np.ndarray:
    """Values before rounding, float32 [N, sH, sW, 3], by ONNX Runtime."""
    session = session_of(without_rounding(model))
    return np.asarray(session.run(None, {"image": images})[0])


def run_reference(checkpoint: Checkpoint, images: np.ndarray) -> np.ndarray:
    """The same values by PyTorch."""
    with torch.inference_mode():
        rgb = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(torch.float32) / 255.0
        return (denormalise(checkpoint.network()(normalise(rgb))) * 255.0).permute(0, 2, 3, 1).numpy()


def relative_error(values: np.ndarray, reference: np.ndarray) -> float:
    """Largest absolute difference, relative to the range of the reference."""
    assert values.shape == reference.shape
    return float(np.abs(values - reference).max() / (reference.max() - reference.min()))
