"""The custom operator ``defian::MaxHessianEigenvalue`` and its body in standard operators.

``MaxHessianEigenvalue(features [N, C, H, W], bias [3, 3, C]) -> [N, 3, H, W]``: for dilation 1, 2, 3 the
larger eigenvalue of the 2x2 Hessian of every channel, averaged over the channels; zero padding. ``bias``
is indexed by dilation, then by xx, yy, xy. Output and features have the same type, FP32 or FP16.

A model-local function of the same name makes the node runnable by any backend. The nodes name the TensorRT plugin
that may take their place in two attributes, which the function declares and does not read. The body is specialised
for the number of channels and computes in FP32 whatever the type of the features: the Hessian of FP16
features overflows FP16 in the second difference already, let alone in its square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from defian_edge.calibration.ranges.fp16_range import LARGEST_FP16
from defian_edge.export.graph import OPSET, Emitter
from defian_edge.models.defian import DILATIONS, STENCIL_XX, STENCIL_XY, STENCIL_YY
from defian_edge.runtime.plugin.hessian_plugin import PLUGIN_NAME, PLUGIN_NAMESPACE, PLUGIN_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

FORM = "form"
DOMAIN = PLUGIN_NAMESPACE
NAME = PLUGIN_NAME
VERSION = 1
PLUGIN_ATTRIBUTES = {"plugin_namespace": PLUGIN_NAMESPACE, "plugin_version": PLUGIN_VERSION}
"""How TensorRT's parser finds the plugin of a node."""


def operator_nodes(model: ir.Model) -> list[ir.Node]:
    """All eigenvalue nodes of the main graph."""
    return [node for node in model.graph if node.domain == DOMAIN and node.op_type == NAME]


def body_form(model: ir.Model) -> str:
    """Which rewrite made the body of the operator's function; empty if it is as traced, or there is none."""
    function = next((each for key, each in model.functions.items() if key[0] == DOMAIN), None)
    return "" if function is None else function.metadata_props.get(FORM, "")


def install_body(model: ir.Model, body: Callable[[Emitter, ir.Value, ir.Value, int], ir.Value], form: str = "") -> int:
    """Define (or redefine) the operator's function in the model; returns the number of nodes that use it.

    Args:
        model: a model whose eigenvalue nodes all read features of the same number of channels.
        body: called with an emitter, the features, the bias and C; returns the eigenvalue maps in FP32.
        form: name of the rewrite whose body it is; see :func:`body_form`.
    """
    nodes = operator_nodes(model)
    if not nodes:
        return 0
    bias_shape = nodes[0].inputs[1].shape if nodes[0].inputs[1] is not None else None
    if bias_shape is None:
        raise ValueError(f"{nodes[0].name}: the bias must have a static shape [3, 3, C]")
    channels = bias_shape.numpy()[2]
    emit = Emitter()
    features, bias = ir.val("features"), ir.val("bias")
    eigenvalues = body(emit, features, bias, channels)
    # So that an FP16 output is finite; an FP32 one is practically never touched.
    limited = emit("Clip", eigenvalues, emit.constant(-LARGEST_FP16), emit.constant(LARGEST_FP16))
    result = emit("CastLike", limited, features)
    result.name = "eigenvalues"
    graph = ir.Graph([features, bias], [result], nodes=emit.nodes, opset_imports={"": OPSET}, name=NAME)
    declared = [ir.Attr(name, ir.AttributeType.STRING, None) for name in PLUGIN_ATTRIBUTES]
    function = ir.Function(DOMAIN, NAME, graph=graph, attributes=declared)
    if form:
        function.metadata_props[FORM] = form
    model.functions[function.identifier()] = function
    model.opset_imports[DOMAIN] = VERSION
    for node in nodes:
        for name, value in PLUGIN_ATTRIBUTES.items():
            node.attributes[name] = ir.AttrString(name, value)
    return len(nodes)


def plain_body(emit: Emitter, features: ir.Value, bias: ir.Value, channels: int) -> ir.Value:
    """The definition, term by term: nine depthwise convolutions and the closed form of the eigenvalue.

    ``lambda = ((fxx + fyy) + sqrt((fxx - fyy)^2 + 4 fxy^2)) / 2``, mean over C, for each dilation.
    """
    wide = emit("Cast", features, to=int(ir.DataType.FLOAT))
    maps = []
    for index, dilation in enumerate(DILATIONS):
        fxx, fyy, fxy = (
            emit("Add", stencil(emit, wide, kernel, dilation, channels), bias_row(emit, bias, index, row, channels))
            for row, kernel in enumerate((STENCIL_XX, STENCIL_YY, STENCIL_XY))
        )
        difference = emit("Sub", fxx, fyy)
        four_squares = emit("Mul", emit("Mul", fxy, fxy), emit.constant(4.0))
        root = emit("Sqrt", emit("Add", emit("Mul", difference, difference), four_squares))
        eigenvalue = emit("Mul", emit("Add", emit("Add", fxx, fyy), root), emit.constant(0.5))
        maps.append(emit("ReduceMean", eigenvalue, emit.constant([1]), keepdims=1))
    return emit("Concat", *maps, axis=1)


def stencil(emit: Emitter, x: ir.Value, kernel: object, dilation: int, channels: int) -> ir.Value:
    """Depthwise 3x3 convolution with the same kernel for every channel, in the type of ``x``."""
    weight = np.tile(np.asarray(kernel, dtype=np.float32), (channels, 1, 1, 1))
    return emit(
        "Conv", x, emit("CastLike", emit.constant(weight), x),
        kernel_shape=[3, 3], dilations=[dilation] * 2, pads=[dilation] * 4, group=channels,
    )  # fmt: skip


def bias_row(emit: Emitter, bias: ir.Value, dilation_index: int, row: int, channels: int) -> ir.Value:
    """One row of the bias as [1, C, 1, 1] float32."""
    picked = emit("Gather", emit("Gather", bias, emit.constant(dilation_index), axis=0), emit.constant(row), axis=0)
    wide = emit("Cast", picked, to=int(ir.DataType.FLOAT))
    return emit("Reshape", wide, emit.constant([1, channels, 1, 1]))
