"""The three lowerings of the eigenvalue step: TensorRT plugin, model-local function, or inlined nodes.

One file serves the first two. Its eigenvalue nodes name the plugin in two attributes, and the model-local function
of the same name stays in the file: ONNX Runtime runs the function, TensorRT takes the plugin if a creator of that
name, version and namespace is registered, and inlines the function otherwise. A parser that is to take the function
gets the nodes without these attributes (``runtime/building/function_only.py``), so that a plugin which something else
registered in the same process cannot be taken by mistake: an engine needs the plugin if and only if its manifest says
so.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError
from onnx_ir.passes import common

from defian_edge.export.trace.hessian_op import DOMAIN, NAME
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin import register

if TYPE_CHECKING:
    from types import ModuleType

    import onnx_ir as ir


class Eigen(str, Enum):
    """What becomes of ``defian::MaxHessianEigenvalue``.

    ``plugin``: one fused kernel in the engine, which then needs this package's plugin on the device.
    ``function``: the compiler inlines the body; the engine needs nothing but TensorRT.
    ``inline``: as ``function``, but inlined in the written graph already, for tools that know no functions.
    """

    PLUGIN = "plugin"
    FUNCTION = "function"
    INLINE = "inline"


def inline_functions(model: ir.Model) -> ir.Model:
    """Replace the custom nodes by the body of their function, in place; the model then has standard operators only."""
    common.InlinePass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.RemoveUnusedFunctionsPass()(model)
    model.opset_imports.pop(DOMAIN, None)
    return model


def offer_plugin(trt: ModuleType, graph: bytes) -> int:
    """Let the ONNX parser of this TensorRT find the plugin; returns how many plugin layers it is to make of the graph.

    Raises:
        DefianError: the graph has no eigenvalue node, TensorRT is too old for the plugin, or TensorRT-RTX's parser
            would abort the process on this system.
    """
    model = _parsed(graph)
    wanted = 0 if model is None else len(_eigenvalue_nodes(model))
    if model is not None and wanted == 0:
        raise DefianError(
            f"--eigen plugin: the graph has no {DOMAIN}::{NAME} node. Only modules whose frozen Hessian stencils are "
            "the standard ones become such a node.",
            "Build with --eigen function.",
        )
    if trt.__name__ == "tensorrt_rtx":
        from defian_edge.runtime.building.rtx_parser import let_parser_find_plugins

        if not let_parser_find_plugins():
            raise DefianError(
                "TensorRT-RTX's ONNX parser would end this process when it looks for the plugin: it cannot load its "
                "library by the name that it wants on this system.",
                "Build with --eigen function, or on Linux on x86-64 or ARM64.",
            )
    register(trt)
    return wanted


def _parsed(graph: bytes) -> onnx.ModelProto | None:
    try:
        return onnx.load_model_from_string(graph)
    except DecodeError:
        return None


def _eigenvalue_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.domain == DOMAIN and node.op_type == NAME]
