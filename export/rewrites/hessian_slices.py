"""The eigenvalue step from one read of the features: shifted slices of one padded map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from defian_edge.export.rewrites.base import ENGINES
from defian_edge.export.rewrites.eigenvalue import EigenvalueRewrite
from defian_edge.export.trace.hessian_op import bias_row, body_form, install_body
from defian_edge.models.defian import DILATIONS

if TYPE_CHECKING:
    from defian_edge.export.graph import Emitter

REACH = max(DILATIONS)
END = np.iinfo(np.int64).max


class HessianSlices(EigenvalueRewrite):
    """The definition written with slices: every tap of every stencil is the padded map shifted.

    A depthwise convolution is a kernel of its own that writes a map. Additions of slices of one padded map are
    pointwise for a compiler: all 25 taps, the squares, the roots and the means over the channels become one kernel that
    reads the features once and writes three maps of one channel. In FP16 graphs the taps are cast to FP32 behind the
    slices, so that nothing overflows and nothing is rounded before the eigenvalues.

    The border is concatenated, not a ``Pad``: TensorRT-RTX makes the same kernel of both, but for a range of shapes its
    plan writes the padded map of a ``Pad`` to memory beside the zeros around it (50 MB of 233 for x2 at 540x960).

    On a CPU ONNX Runtime executes slice after slice and takes 1.4 times as long; only engines get this form.

    Precondition: as for :class:`~defian_edge.export.rewrites.cheap_hessian.CheapHessian`.
    """

    name = "hessian-slices"
    summary = "stencils as sums of shifted slices of one padded map"
    uses = ENGINES

    def rewrite(self, model: ir.Model) -> int:
        return 0 if body_form(model) == self.name else install_body(model, sliced_body, self.name)


def sliced_body(emit: Emitter, features: ir.Value, bias: ir.Value, channels: int) -> ir.Value:
    """Mean over the channels of the larger eigenvalue at every dilation, FP32 [N, 3, H, W]."""
    padded = _bordered(emit, _bordered(emit, features, 2), 3)

    def tap(dy: int, dx: int) -> ir.Value:
        ends = [-(REACH - shift) if shift < REACH else END for shift in (dy, dx)]
        starts = emit.constant([REACH + dy, REACH + dx])
        part = emit("Slice", padded, starts, emit.constant(ends), emit.constant([2, 3]))
        return emit("Cast", part, to=int(ir.DataType.FLOAT))

    centre = emit("Mul", tap(0, 0), emit.constant(2.0))
    maps = []
    for index, d in enumerate(DILATIONS):
        b_xx, b_yy, b_xy = (bias_row(emit, bias, index, row, channels) for row in range(3))
        f_xx = emit("Add", emit("Sub", emit("Add", tap(0, -d), tap(0, d)), centre), b_xx)
        f_yy = emit("Add", emit("Sub", emit("Add", tap(-d, 0), tap(d, 0)), centre), b_yy)
        rising, falling = emit("Add", tap(-d, -d), tap(d, d)), emit("Add", tap(-d, d), tap(d, -d))
        f_xy = emit("Add", emit("Sub", rising, falling), b_xy)
        difference = emit("Mul", emit("Sub", f_xx, f_yy), emit.constant(0.5))
        root = emit("Sqrt", emit("Add", emit("Mul", difference, difference), emit("Mul", f_xy, f_xy)))
        half_trace = emit("Mul", emit("Add", f_xx, f_yy), emit.constant(0.5))
        maps.append(emit("ReduceMean", emit("Add", half_trace, root), emit.constant([1]), keepdims=1))
    return emit("Concat", *maps, axis=1)


def _bordered(emit: Emitter, x: ir.Value, axis: int) -> ir.Value:
    """The map with :data:`REACH` zeros before and behind it along one axis."""
    sizes = [emit("Shape", x, start=0, end=axis), emit.constant([REACH])]
    if axis < 3:
        sizes.append(emit("Shape", x, start=axis + 1))
    zeros = emit("Expand", emit("CastLike", emit.constant(0.0), x), emit("Concat", *sizes, axis=0))
    return emit("Concat", zeros, x, zeros, axis=axis)
