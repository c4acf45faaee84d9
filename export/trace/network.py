"""PyTorch checkpoint -> plain ONNX graph, with the eigenvalue step as one custom node per module.

The graph computes what the reference network computes, operator by operator, with pre- and
post-processing inside. Making it cheaper is the rewrites' job, typing it the precisions'.
"""

from __future__ import annotations

import copy
import re
from enum import Enum
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from defian_edge.export.graph import array_of
from defian_edge.export.trace.exporter import export_graph
from defian_edge.export.trace.hessian_op import DOMAIN, NAME, VERSION, install_body, plain_body
from defian_edge.models.defian import STENCIL_XX, STENCIL_XY, STENCIL_YY, DeFiAM, HessianFilter, denormalise, normalise
from defian_edge.runtime import __version__
from defian_edge.runtime.producer import PRODUCER

if TYPE_CHECKING:
    import onnx_ir as ir

    from defian_edge.models.checkpoint import Checkpoint

INPUT, OUTPUT = "image", "upscaled"
MAX_BATCH, MAX_SIDE = 256, 16384


class Io(str, Enum):
    """What the graph reads and writes.

    ``uint8``: RGB [N, H, W, 3] in, [N, sH, sW, 3] out, clamped and rounded to nearest even.
    ``float``: float32, normalised, [N, 3, H, W] in and [N, 3, sH, sW] out; for parity tests.
    """

    UINT8 = "uint8"
    FLOAT = "float"


class _ModuleWithOperator(nn.Module):
    """A DeFiAM whose eigenvalue step is one node of the exported graph."""

    def __init__(self, module: DeFiAM) -> None:
        super().__init__()
        self.module = module
        self.hessian_bias = nn.Parameter(hessian_bias(module), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        r = self.module.body_block(x)
        batch, _, height, width = r.shape
        eigenvalues = torch.onnx.ops.symbolic(
            f"{DOMAIN}::{NAME}",
            (r, self.hessian_bias),
            dtype=r.dtype,
            shape=(batch, 3, height, width),
            version=VERSION,
        )
        return self.module.attend(x, r, eigenvalues)


class _Uint8Network(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        # TensorRT allows uint8 only right at the inputs and outputs, next to a cast.
        normalised = normalise(image.to(torch.float32).permute(0, 3, 1, 2) / 255.0)
        upscaled = denormalise(self.network(normalised)) * 255.0
        return torch.round(torch.clamp(upscaled, 0.0, 255.0)).permute(0, 2, 3, 1).to(torch.uint8)


class _FloatNetwork(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)


def hessian_filters(module: DeFiAM) -> list[HessianFilter]:
    """The module's three filters in the order of their dilations."""
    return [cast("HessianFilter", bank[0]) for bank in (module.hessian3, module.hessian5, module.hessian7)]


def hessian_bias(module: DeFiAM) -> Tensor:
    """The frozen biases as [3 dilations, (xx, yy, xy), C]."""
    rows = [
        torch.stack([filter_.grad_xx.bias, filter_.grad_yy.bias, filter_.grad_xy.bias])  # type: ignore[list-item]
        for filter_ in hessian_filters(module)
    ]
    return torch.stack(rows).detach().clone()


def has_standard_stencils(module: DeFiAM) -> bool:
    """Whether the frozen weights are exactly the second-difference stencils that the operator computes."""
    standard = {"grad_xx": STENCIL_XX, "grad_yy": STENCIL_YY, "grad_xy": STENCIL_XY}
    return all(
        bool((getattr(filter_, name).weight == torch.tensor(stencil)).all())
        for filter_ in hessian_filters(module)
        for name, stencil in standard.items()
    )


def trace(checkpoint: Checkpoint, io: Io = Io.UINT8) -> ir.Model:
    """Export the reference network to a plain FP32 ONNX graph with dynamic batch, height and width.

    Raises:
        DefianError: torch.onnx could not export the network.
    """
    network = copy.deepcopy(checkpoint.network())
    for index, module in enumerate(network.body):
        if has_standard_stencils(cast("DeFiAM", module)):
            network.body[index] = _ModuleWithOperator(cast("DeFiAM", module))
    deployable, example = (
        (_Uint8Network(network), torch.zeros(2, 20, 24, 3, dtype=torch.uint8))
        if io is Io.UINT8
        else (_FloatNetwork(network), torch.zeros(2, 3, 20, 24))
    )
    model = _export(deployable.eval(), example, height_axis=1 if io is Io.UINT8 else 2)
    clean_names(model)
    install_body(model, plain_body)
    model.producer_name, model.producer_version = PRODUCER, __version__
    model.graph.name = checkpoint.architecture.size.lower() + f"-x{checkpoint.architecture.scale}"
    return model


def _export(deployable: nn.Module, example: Tensor, height_axis: int) -> ir.Model:
    dynamic = {
        0: torch.export.Dim("batch", min=1, max=MAX_BATCH),
        height_axis: torch.export.Dim("height", min=2, max=MAX_SIDE),
        height_axis + 1: torch.export.Dim("width", min=2, max=MAX_SIDE),
    }
    return export_graph(deployable, example, dynamic, (INPUT, OUTPUT))


def clean_names(model: ir.Model) -> None:
    """Name weights and their convolutions as in the checkpoint, and drop the exporter's source locations."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ClearMetadataAndDocStringPass()(model)
    graph = model.graph
    others = {value.name for node in graph for value in node.outputs}
    for value in list(graph.initializers.values()):
        old = value.name or ""
        new = re.sub(r"^(\w+\.)?network\.", "", old).replace(".module.", ".")
        if new != old and new not in others:
            value.name = new
    taken: set[str] = set()
    for node in graph:
        weight = node.inputs[1] if node.op_type in ("Conv", "ConvTranspose") else None
        name = weight.name.removesuffix(".weight") if weight is not None and weight.name else ""
        # Equal stencils of a general Hessian share one weight; only its first reader can have its name.
        if name and name not in taken and array_of(weight) is not None:
            node.name = name
            taken.add(name)
