"""Stride-1 transposed convolutions become convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.export.graph import Emitter, array_of, integers, nodes_of_type, replace_value
from defian_edge.export.rewrites.base import Rewrite

if TYPE_CHECKING:
    import onnx_ir as ir


class TransposedConvolutions(Rewrite):
    """ConvTranspose with stride 1 is Conv with the kernel turned by 180 degrees and its channels swapped.

    With stride 1 a transposed convolution is ``y[o, p] = sum_{i, k} w[i, o, k] x[i, p + pad - k d]``.
    Substituting ``k -> K - 1 - k`` gives ``sum_{i, k} w[i, o, K-1-k] x[i, p + k d - (d (K-1) - pad)]``,
    which is a convolution with padding ``d (K - 1) - pad`` and the same dilation ``d``
    (https://onnx.ai/onnx/operators/onnx__ConvTranspose.html).

    Precondition: constant weight, stride 1, one group, no output padding, explicit pads that leave a
    non-negative padding.
    """

    name = "transposed-convolutions"
    summary = "stride-1 ConvTranspose -> dilated Conv"
    operator = "ConvTranspose"
    place = "of constant weights, stride 1 and one group, with explicit pads"

    def rewrite(self, model: ir.Model) -> int:
        return sum(_rewrite_node(node) for node in nodes_of_type(model.graph, "ConvTranspose"))


def _rewrite_node(node: ir.Node) -> bool:
    weight = array_of(node.inputs[1])
    if weight is None or weight.ndim != 4:
        return False
    auto_pad = node.attributes.get("auto_pad")
    group = node.attributes.get("group")
    dilations = integers(node, "dilations", (1, 1))
    pads = integers(node, "pads", (0, 0, 0, 0))
    reach = [dilation * (size - 1) for dilation, size in zip(dilations, weight.shape[2:], strict=True)]
    new_pads = [reach[axis % 2] - pad for axis, pad in enumerate(pads)]
    fits = (
        integers(node, "strides", (1, 1)) == (1, 1)
        and set(integers(node, "output_padding", (0, 0))) == {0}
        and "output_shape" not in node.attributes
        and (auto_pad is None or auto_pad.as_string() == "NOTSET")
        and (group is None or group.as_int() == 1)
        and min(new_pads) >= 0
    )
    if not fits:
        return False
    emit = Emitter()
    flipped = np.ascontiguousarray(weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
    bias = node.inputs[2:3]
    convolved = emit(
        "Conv", node.inputs[0], emit.constant(flipped), *bias,
        kernel_shape=list(flipped.shape[2:]), dilations=list(dilations), pads=new_pads,
    )  # fmt: skip
    emit.nodes[-1].name = node.name
    emit.insert_before(node)
    replace_value(node.outputs[0], convolved)
    return True
