"""The eigenvalue step with six depthwise convolutions instead of nine, and the trace on one channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from defian_edge.export.rewrites.eigenvalue import EigenvalueRewrite
from defian_edge.export.trace.hessian_op import bias_row, body_form, install_body, stencil
from defian_edge.models.defian import DILATIONS, STENCIL_XX, STENCIL_XY, STENCIL_YY

if TYPE_CHECKING:
    from defian_edge.export.graph import Emitter

HEADROOM = 0.25
"""Both stencils are scaled by a quarter, a power of two, so that they cannot overflow FP16 for any FP16 features."""


class CheapHessian(EigenvalueRewrite):
    """``lambda = (fxx + fyy) / 2 + sqrt(((fxx - fyy) / 2)^2 + fxy^2)``, each half computed where it is cheapest.

    The trace ``(fxx + fyy) / 2`` is linear, so the mean over the channels moves inside it: one 7x7
    convolution of the channel mean of the features gives the traces of all three dilations (the three
    stencils fit side by side in 7x7), plus the channel mean of the biases. Under the root,
    ``(fxx - fyy) / 2`` is one stencil whose centre taps cancel, so that two depthwise convolutions per
    dilation are left, with biases ``(b_xx - b_yy) / 2`` and ``b_xy``.

    In FP16 the two stencils run in FP16, scaled by 1/4 (exact, and |sum| <= 65504 for all FP16 inputs);
    their squares, the root and both means run in FP32.

    Precondition: ``defian::MaxHessianEigenvalue`` nodes. The tracer writes them only for modules whose
    frozen stencils have the standard values; a module with others keeps its general convolutions.
    """

    name = "cheap-hessian"
    summary = "trace on the channel mean, two depthwise convolutions per dilation"

    def rewrite(self, model: ir.Model) -> int:
        return 0 if body_form(model) else install_body(model, cheap_body, self.name)


def cheap_body(emit: Emitter, features: ir.Value, bias: ir.Value, channels: int) -> ir.Value:
    """Traces from the channel mean plus the channel mean of the roots, FP32 [N, 3, H, W]."""
    roots = [_mean_root(emit, features, bias, index, channels) for index in range(len(DILATIONS))]
    return emit("Add", _mean_traces(emit, features, bias), emit("Concat", *roots, axis=1))


def _mean_traces(emit: Emitter, features: ir.Value, bias: ir.Value) -> ir.Value:
    mean = emit("ReduceMean", emit("Cast", features, to=int(ir.DataType.FLOAT)), emit.constant([1]), keepdims=1)
    laplacian = (np.asarray(STENCIL_XX) + np.asarray(STENCIL_YY)) / 2
    kernels = np.zeros((len(DILATIONS), 1, 7, 7), np.float32)
    for index, dilation in enumerate(DILATIONS):
        kernels[index, 0, 3 - dilation :: dilation, 3 - dilation :: dilation][:3, :3] = laplacian
    traces = emit("Conv", mean, emit.constant(kernels), kernel_shape=[7, 7], pads=[3] * 4)
    second_derivatives = emit("Slice", bias, emit.constant([0]), emit.constant([2]), emit.constant([1]))
    wide = emit("Cast", second_derivatives, to=int(ir.DataType.FLOAT))
    # (b_xx + b_yy) / 2 averaged over the channels is the mean over both axes.
    offsets = emit("ReduceMean", wide, emit.constant([1, 2]), keepdims=0)
    return emit("Add", traces, emit("Reshape", offsets, emit.constant([1, len(DILATIONS), 1, 1])))


def _mean_root(emit: Emitter, features: ir.Value, bias: ir.Value, index: int, channels: int) -> ir.Value:
    half_difference = (np.asarray(STENCIL_XX) - np.asarray(STENCIL_YY)) / 2
    b_xx, b_yy, b_xy = (bias_row(emit, bias, index, row, channels) for row in range(3))
    offset = emit("Mul", emit("Sub", b_xx, b_yy), emit.constant(0.5))

    def term(kernel: np.ndarray, constant: ir.Value) -> ir.Value:
        scaled = stencil(emit, features, kernel * HEADROOM, DILATIONS[index], channels)
        wide = emit("Cast", scaled, to=int(ir.DataType.FLOAT))
        shifted = emit("Add", wide, emit("Mul", constant, emit.constant(HEADROOM)))
        return emit("Mul", shifted, shifted)

    squares = emit("Add", term(half_difference, offset), term(np.asarray(STENCIL_XY), b_xy))
    mean = emit("ReduceMean", emit("Sqrt", squares), emit.constant([1]), keepdims=1)
    return emit("Mul", mean, emit.constant(1.0 / HEADROOM))
