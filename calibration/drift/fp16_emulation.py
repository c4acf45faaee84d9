"""Run FP16 and BF16 graphs on a CPU as a GPU would round them.

ONNX Runtime has no FP16 kernels for most operators on a CPU. It computes them in FP32 and keeps FP32
between them, so that neither the rounding nor an overflow of FP16 shows: 300 * 200 * 2 comes out as
120000 and not as infinity. A drift measured that way would be that of another network. A BF16 graph it does not load at
all, because it has no BF16 convolution. Here every FP16 or BF16
tensor of the graph becomes a FP32 tensor that has been rounded to its type and back by explicit casts, which
ONNX Runtime does execute, to nearest even. What remains different from a device is the order of summation inside one
operator; sums are FP32 in both.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

WIDE = ir.DataType.FLOAT
HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
VALUES_ONLY_MOVED = {"Transpose", "DepthToSpace", "Slice", "Reshape", "Concat", "Identity", "Pad", "Relu", "Expand"}
"""Operators whose results are among their inputs (or zero): rounding them again changes nothing."""


def emulate_fp16(model: ir.Model) -> ir.Model:
    """A FP32 copy of the model in which every FP16 tensor is rounded to FP16, and every BF16 tensor to BF16.

    Functions are inlined. The copy has the same inputs and outputs. A model without either is returned as an inlined
    copy.
    """
    copy = ir.from_proto(ir.to_proto(model))
    common.InlinePass()(copy)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    graph = copy.graph
    common.ShapeInferencePass()(copy)
    half = {value: dtype for node in graph for value in node.outputs for dtype in HALVES if value.dtype == dtype}
    for value in graph.initializers.values():
        _widen_initializer(value)
    for node in list(graph):
        for output in node.outputs:
            if output not in half:
                continue
            if node.op_type == "Cast":
                node.attributes["to"] = ir.AttrInt64("to", int(WIDE))
            output.type = ir.TensorType(WIDE)
            if node.op_type not in VALUES_ONLY_MOVED:
                _round(graph, node, output, half[output])
    return copy


def _widen_initializer(value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is not None and value.dtype in HALVES:
        value.const_value = ir.tensor(tensor.numpy().astype(np.float32), name=value.name)
        value.type = ir.TensorType(WIDE)


def _round(graph: ir.Graph, node: ir.Node, output: ir.Value, half: ir.DataType) -> None:
    uses = list(output.uses())
    narrow = ir.node("Cast", [output], {"to": int(half)})
    back = ir.node("Cast", [narrow.outputs[0]], {"to": int(WIDE)})
    narrow.outputs[0].shape = back.outputs[0].shape = output.shape
    narrow.outputs[0].type, back.outputs[0].type = ir.TensorType(half), ir.TensorType(WIDE)
    graph.insert_after(node, [narrow, back])
    for use in uses:
        use.node.replace_input_with(use.idx, back.outputs[0])
