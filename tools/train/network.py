"""DeFiAN's forward pass for training: the arithmetic of ``defian_edge.models.defian`` as functions of their weights.

So all fifty residual blocks share one compiled graph, and all five Hessians another three. Attention and end of the
network are a twelfth of the traffic and stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from defian_edge.models.defian import DAC_EPSILON, DeFiAN
from tools.train.hessian import EigenvalueMaps, Kernels, carried_back, maps_of, slopes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from defian_edge.models.defian import Architecture

FROZEN = (".grad_xx.", ".grad_yy.", ".grad_xy.")
CODER = ("encoder.0", "encoder.2", "encoder.4", "decoder.0", "decoder.2", "decoder.4", "gate")


def trained_names(network: DeFiAN) -> list[str]:
    """Names of the weights that training changes: all but the Hessian banks."""
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def reads_half(name: str) -> bool:
    """Whether a weight's convolution runs in bf16: those of C channels at full size, but not the last one.

    The last has the picture's own precision, and the small ones (statistics, three maps) cost next to nothing.
    """
    return name.startswith(("input.", "tail.", "upscale.")) or ".block." in name


def complete(trained: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """A state dict in the authors' format: the trained weights, the stencils, and biases of zero beside them."""
    state = DeFiAN(architecture).state_dict()
    for name in state:
        if any(bank in name for bank in FROZEN) and name.endswith(".bias"):
            state[name] = torch.zeros_like(state[name])
    return {**state, **trained}


@dataclass(frozen=True)
class Regions:
    """The functions that make up most of a step, as they are or compiled."""

    block: Callable[..., Tensor]
    eigenvalues: Kernels

    @staticmethod
    def of(level: int) -> Regions:
        """0: as they are; 1: the residual block compiled, for fixed shapes; 2: the eigenvalues as well."""

        def compiled(function: Callable[..., Any], least: int) -> Callable[..., Any]:
            return torch.compile(function, dynamic=False, fullgraph=True) if level >= least else function

        return Regions(
            compiled(residual_block, 1),
            Kernels(compiled(maps_of, 2), compiled(slopes_of, 2), compiled(carried_back, 2)),
        )


def loss_of(
    regions: Regions, architecture: Architecture, weights: Mapping[str, Tensor], lr: Tensor, hr: Tensor
) -> Tensor:
    """Mean absolute difference in the normalised space, an FP32 scalar.

    Args:
        regions: what computes.
        architecture: of the network.
        weights: by the authors' names; bf16 or FP32 where :func:`reads_half`, otherwise FP32.
        lr: normalised [N, 3, H, W] of the type of ``input.weight``, channels-last.
        hr: normalised FP32 [N, 3, sH, sW].
    """
    shallow = functional.conv2d(lr, weights["input.weight"], weights["input.bias"], padding=1)
    x = shallow
    for module in range(architecture.modules):
        start, r = f"body.{module}", x
        for block in range(architecture.blocks):
            prefix = f"{start}.body_block.{block}"
            r = regions.block(r, *_several(weights, prefix, ("block.0", "block.2", "calayer.0", "calayer.2")))
        maps = EigenvalueMaps.apply(r, regions.eigenvalues)
        x = attention(
            x,
            r,
            maps,
            *_several(weights, f"{start}.coder.0", CODER),
            *_several(weights, f"{start}.dac.0", ("mean.0", "mean.2", "std.0", "std.2")),
        )
    ups = [weights[name] for name in ("upscale.0.0.weight", "upscale.0.2.weight") if name in weights]
    ends = [weights[f"{part}.{kind}"] for part in ("tail", "output") for kind in ("weight", "bias")]
    return ending(x, shallow, hr, *ends, *ups)


def _several(weights: Mapping[str, Tensor], prefix: str, parts: tuple[str, ...]) -> list[Tensor]:
    names = [f"{prefix}.{part}.{kind}" for part in parts for kind in ("weight", "bias")]
    return [weights[name] for name in names if name in weights]


def residual_block(  # noqa: PLR0913, PLR0917 - a function of its weights
    x: Tensor, first: Tensor, second: Tensor, squeeze: Tensor, squeeze_bias: Tensor, spread: Tensor, spread_bias: Tensor
) -> Tensor:
    """``ResidualChannelAttentionBlock``; the attention over channels is FP32."""
    residual = functional.conv2d(functional.relu(functional.conv2d(x, first, padding=1)), second, padding=1)
    mean = residual.float().mean(dim=(2, 3))
    hidden = functional.relu(_vector_convolution(mean, squeeze) + squeeze_bias)
    gain = torch.sigmoid(_vector_convolution(hidden, spread) + spread_bias)
    return x + (residual.float() * gain[:, :, None, None]).to(x.dtype)


def _vector_convolution(vector: Tensor, weight: Tensor) -> Tensor:
    """A 1x1 convolution of [N, I] as products and sums, which fuse with what is around them."""
    return (vector[:, None, :] * weight.flatten(1)).sum(dim=2)


def attention(x: Tensor, r: Tensor, v: Tensor, *weights: Tensor) -> Tensor:
    """``DeFiAM`` behind its blocks: its input x, the blocks' output r and their eigenvalue maps v; FP32 inside."""
    coder, dac = weights[:14], weights[14:]
    for index, dilation in enumerate((1, 2, 4)):
        v = functional.relu(
            functional.conv2d(v, coder[2 * index], coder[2 * index + 1], padding=dilation, dilation=dilation)
        )
    for index, dilation in enumerate((4, 2, 1), start=3):
        weight, bias = coder[2 * index], coder[2 * index + 1]
        v = functional.relu(functional.conv_transpose2d(v, weight, bias, padding=dilation, dilation=dilation))
    v = functional.conv2d(v, coder[12], coder[13])
    mean_v, deviation_v = _statistics(v)
    mean_x, deviation_x = _statistics(x.float())
    gain = _bottleneck(deviation_x, dac[2], dac[3]) / deviation_v
    shift = _bottleneck(mean_x, dac[0], dac[1])
    corrected = (v - mean_v[:, :, None, None]) * gain[:, :, None, None] + shift[:, :, None, None]
    return (r.float() * torch.sigmoid(corrected)).to(x.dtype) + x


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=1)
    return mean, torch.sqrt(variance + DAC_EPSILON)


def _bottleneck(vector: Tensor, squeeze: Tensor, spread: Tensor) -> Tensor:
    return _vector_convolution(functional.relu(_vector_convolution(vector, squeeze)), spread)


def ending(x: Tensor, shallow: Tensor, hr: Tensor, *weights: Tensor) -> Tensor:
    """Tail, upscaling, output and the loss against the normalised HR."""
    tail, tail_bias, output, output_bias, *upscalers = weights
    deep = functional.conv2d(x, tail, tail_bias, padding=1) + shallow
    for upscaler in upscalers:
        factor = int((upscaler.shape[0] // upscaler.shape[1]) ** 0.5)
        deep = functional.pixel_shuffle(functional.conv2d(deep, upscaler, padding=1), factor)
    return (functional.conv2d(deep.float(), output, output_bias, padding=1) - hr).abs().mean()
