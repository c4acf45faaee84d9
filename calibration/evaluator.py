"""Run a graph on a CPU for measuring it: FP16 rounded as on a device, and the values before clamping in view."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import onnxruntime

from calibration.emulation import emulate_half

UNCLAMPED = "unclamped"


@dataclass(frozen=True)
class Evaluation:
    """One image's result.

    Attributes:
        image: uint8 RGB [sH, sW, 3].
        finite: whether all values were finite before they were clamped.
        values: 0 to 255 before rounding, in the layout in which the graph clamps them; empty if it does not.
    """

    image: np.ndarray
    finite: bool
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))


class GraphEvaluator:
    """Evaluates a uint8 graph of any precision, image by image."""

    def __init__(self, model: ir.Model, threads: int = 0) -> None:
        emulated = emulate_half(model)
        clip = next((node for node in emulated.graph if _ends_the_picture(node)), None)
        if clip is not None and clip.inputs[0] is not None:
            clip.inputs[0].name = UNCLAMPED
            clip.inputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            emulated.graph.outputs.append(clip.inputs[0])
        self._session = session_of(emulated, threads)

    def __call__(self, lr: np.ndarray) -> Evaluation:
        """Upscale uint8 RGB [H, W, 3]."""
        results = self._session.run(None, {self._session.get_inputs()[0].name: lr[None]})
        upscaled, *unclamped = (np.asarray(result) for result in results)
        if not unclamped:
            return Evaluation(upscaled[0], finite=True)
        finite = bool(np.isfinite(unclamped[0]).all())
        return Evaluation(upscaled[0], finite, np.clip(unclamped[0], 0.0, 255.0))


def _ends_the_picture(node: ir.Node) -> bool:
    """The Clip to 0 ... 255 before rounding; casts that emulate FP16 may stand between."""
    if node.op_type != "Clip":
        return False
    readers = [use.node for use in node.outputs[0].uses()]
    while readers and all(reader.op_type == "Cast" for reader in readers):
        readers = [use.node for reader in readers for use in reader.outputs[0].uses()]
    return any(reader.op_type == "Round" for reader in readers)


def session_of(model: ir.Model, threads: int = 0) -> onnxruntime.InferenceSession:
    """A CPU session of a model in memory."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes want the cores too
    return onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
