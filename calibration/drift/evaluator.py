"""Run a graph on a CPU for measuring it: FP16 rounded as on a device, and the values before clamping in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.drift.fp16_emulation import emulate_fp16
from defian_edge.calibration.drift.overshoot import RangeProbes
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.onnx_runtime import import_onnxruntime

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

UNCLAMPED = "unclamped"
REARRANGING = ("DepthToSpace", "Transpose", "Reshape")
"""What moves values between the clamp and the uint8 output."""
KEEPS_PLACES = ("Round", "Cast", "Identity")


class GraphEvaluator:
    """Evaluates a uint8 graph of any precision, image by image.

    Args:
        model: the graph; it is not changed.
        threads: 0 for all.
        ranges: look at what INT8 ranges clip as well, which takes half as long again.
    """

    def __init__(self, model: ir.Model, threads: int = 0, *, ranges: bool = False) -> None:
        emulated = emulate_fp16(model)
        clip = next((node for node in emulated.graph if ends_the_picture(node)), None)
        if clip is not None and clip.inputs[0] is not None:
            emulated.graph.outputs.append(_unclamped(emulated.graph, clip, clip.inputs[0]))
        self._shown = len(emulated.graph.outputs)
        self._ranges = RangeProbes(emulated.graph) if ranges else None
        self._session = session_of(emulated, threads, probed=len(emulated.graph.outputs) > self._shown)

    def __call__(self, lr: np.ndarray) -> Evaluation:
        """Upscale uint8 RGB [H, W, 3]."""
        results = self._session.run(None, {self._session.get_inputs()[0].name: lr[None]})
        upscaled, *unclamped = (np.asarray(result) for result in results[: self._shown])
        scalars = [float(np.asarray(result)) for result in results[self._shown :]]
        overshoot = None if self._ranges is None else self._ranges.read(scalars)
        if not unclamped:
            return Evaluation(upscaled[0], finite=True, overshoot=overshoot)
        values = unclamped[0][0]
        finite = bool(np.isfinite(values).all())
        return Evaluation(upscaled[0], finite, np.clip(values, 0.0, 255.0), overshoot)


def ends_the_picture(node: ir.Node) -> bool:
    """The Clip to 0 ... 255 before rounding; casts that emulate FP16 may stand between."""
    if node.op_type != "Clip":
        return False
    readers = [use.node for use in node.outputs[0].uses()]
    while readers and all(reader.op_type == "Cast" for reader in readers):
        readers = [use.node for reader in readers for use in reader.outputs[0].uses()]
    return any(reader.op_type == "Round" for reader in readers)


def _unclamped(graph: ir.Graph, clip: ir.Node, value: ir.Value) -> ir.Value:
    """What the Clip reads, rearranged as the uint8 output is: [N, sH, sW, 3] in FP32."""
    node = clip
    while readers := [use.node for use in node.outputs[0].uses()]:
        node = readers[0]
        if node.op_type in REARRANGING:
            rearranged = ir.Node("", node.op_type, [value, *node.inputs[1:]], list(node.attributes.values()))
            graph.insert_after(node, rearranged)
            value = rearranged.outputs[0]
        elif node.op_type not in KEEPS_PLACES:
            raise DefianError(
                f"The values before rounding cannot be followed through {node.op_type} to the graph's output.",
                f"Expected behind the last Clip: {', '.join((*REARRANGING, *KEEPS_PLACES))}.",
            )
    value.name = UNCLAMPED
    value.type = ir.TensorType(ir.DataType.FLOAT)
    return value


def session_of(model: ir.Model, threads: int = 0, *, probed: bool = False) -> InferenceSession:
    """A CPU session of a model in memory.

    ``probed``: scalars that were added to the graph are computed where they stand in it; in the usual order
    all maps would be kept until the end.
    """
    return session_of_bytes(ir.to_proto(model).SerializeToString(), threads, probed=probed)


def session_of_bytes(model: bytes, threads: int = 0, *, probed: bool = False) -> InferenceSession:
    """The same of a serialised model."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if probed:
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes want the cores too
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
