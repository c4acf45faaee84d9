"""The residual block with Triton kernels around PyTorch's convolutions; imported only where Triton is wanted.

The numbers of :func:`tools.train.network.residual_block`, whose pointwise operations and sums become five kernels:

    forward   ``_sums``: sums over pixels of the residual, by chunks; ``_scaled``: the attention's two small layers, the
              same in every program of a picture, and x + residual * gain
    backward  ``_sums`` of gradient * residual; ``_residual_gradient``: the small layers backward, likewise, and the
              residual's gradient; ``_layer_gradients``: those of the small layers' weights

No program adds to what another one writes: no atomics, and the same bits each time. Features lie channels-last, so that
a picture is a matrix [pixels, channels] without gaps.
"""

# Triton's language: tiles and scalars without annotations, constants of the compilation in capitals
# ruff: noqa: ANN001, ANN202, N803, PLR0913, PLR0917
# pyright: reportIndexIssue=false
# What Triton's compiler makes of these functions, no type checker knows.
# pyright: reportMissingImports=false, reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportReturnType=false, reportIndexIssue=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

CHUNK = 256
"""Pixels of a program that sums."""
PIXELS = 64
"""Of a program that scales."""


@triton.jit
def _sums(
    first, second, sums, pixels, chunks, C: tl.constexpr, CB: tl.constexpr, CHUNK: tl.constexpr, PAIR: tl.constexpr
):
    """Sums over a chunk of pixels of ``first``, or of ``first * second``: FP32 [N, chunks, C]."""
    chunk, picture = tl.program_id(0), tl.program_id(1).to(tl.int64)
    pixel, channel = chunk * CHUNK + tl.arange(0, CHUNK), tl.arange(0, CB)
    there = picture * pixels * C + pixel[:, None] * C + channel[None, :]
    fine = (pixel < pixels)[:, None] & (channel < C)[None, :]
    value = tl.load(first + there, mask=fine, other=0.0).to(tl.float32)
    if PAIR:
        value *= tl.load(second + there, mask=fine, other=0.0).to(tl.float32)
    tl.store(sums + (picture * chunks + chunk) * C + channel, tl.sum(value, axis=0), mask=channel < C)


@triton.jit
def _whole_sum(sums, picture, chunks, channel, C: tl.constexpr, CHUNKS: tl.constexpr):
    """All chunks of a picture together: FP32 [channels]."""
    row = tl.arange(0, CHUNKS)
    there = (picture * chunks + row[:, None]) * C + channel[None, :]
    fine = (row < chunks)[:, None] & (channel < C)[None, :]
    return tl.sum(tl.load(sums + there, mask=fine, other=0.0), axis=0)


@triton.jit
def _squeezed(mean, squeeze, squeeze_bias, channel, inner, C: tl.constexpr, J: tl.constexpr):
    """The first small layer before its ReLU [inner], and its weight [inner, channels]."""
    fine = (inner < J)[:, None] & (channel < C)[None, :]
    weight = tl.load(squeeze + inner[:, None] * C + channel[None, :], mask=fine, other=0.0)
    return tl.sum(weight * mean[None, :], axis=1) + tl.load(squeeze_bias + inner, mask=inner < J, other=0.0), weight


@triton.jit
def _scaled(
    x, residual, sums, squeeze, squeeze_bias, spread, spread_bias, result, means, gains, pixels, chunks,
    C: tl.constexpr, CB: tl.constexpr, J: tl.constexpr, JB: tl.constexpr, CHUNKS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """``x + residual * gain`` of some pixels of a picture; its first program keeps its means and gains [N, C]."""
    picture = tl.program_id(1).to(tl.int64)
    channel, inner = tl.arange(0, CB), tl.arange(0, JB)
    mean = _whole_sum(sums, picture, chunks, channel, C, CHUNKS) / pixels
    before, _ = _squeezed(mean, squeeze, squeeze_bias, channel, inner, C, J)
    fine = (channel < C)[:, None] & (inner < J)[None, :]
    weight = tl.load(spread + channel[:, None] * J + inner[None, :], mask=fine, other=0.0)
    logit = tl.sum(weight * tl.maximum(before, 0.0)[None, :], axis=1)
    gain = tl.sigmoid(logit + tl.load(spread_bias + channel, mask=channel < C, other=0.0))
    if tl.program_id(0) == 0:
        tl.store(means + picture * C + channel, mean, mask=channel < C)
        tl.store(gains + picture * C + channel, gain, mask=channel < C)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    there = picture * pixels * C + pixel[:, None] * C + channel[None, :]
    inside = (pixel < pixels)[:, None] & (channel < C)[None, :]
    scaled = tl.load(residual + there, mask=inside, other=0.0).to(tl.float32) * gain[None, :]
    scaled = scaled.to(x.dtype.element_ty).to(tl.float32) + tl.load(x + there, mask=inside, other=0.0).to(tl.float32)
    tl.store(result + there, scaled.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _residual_gradient(
    gradient, sums, squeeze, squeeze_bias, spread, means, gains, result, outer, inners, hidden, pixels, chunks,
    C: tl.constexpr, CB: tl.constexpr, J: tl.constexpr, JB: tl.constexpr, CHUNKS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """``gradient * gain`` and what comes back through the mean.

    A picture's first program keeps the slopes by the small layers' sums, ``outer`` [N, C] and ``inners`` [N, J], and
    what lies between them, ``hidden`` [N, J].
    """
    picture = tl.program_id(1).to(tl.int64)
    channel, inner = tl.arange(0, CB), tl.arange(0, JB)
    mean = tl.load(means + picture * C + channel, mask=channel < C, other=0.0)
    gain = tl.load(gains + picture * C + channel, mask=channel < C, other=0.0)
    slope = _whole_sum(sums, picture, chunks, channel, C, CHUNKS) * gain * (1.0 - gain)
    before, weight = _squeezed(mean, squeeze, squeeze_bias, channel, inner, C, J)
    fine = (channel < C)[:, None] & (inner < J)[None, :]
    spreading = tl.load(spread + channel[:, None] * J + inner[None, :], mask=fine, other=0.0)
    inner_slope = tl.where(before > 0.0, tl.sum(spreading * slope[:, None], axis=0), 0.0)
    by_mean = tl.sum(weight * inner_slope[:, None], axis=0) / pixels
    if tl.program_id(0) == 0:
        tl.store(outer + picture * C + channel, slope, mask=channel < C)
        tl.store(inners + picture * J + inner, inner_slope, mask=inner < J)
        tl.store(hidden + picture * J + inner, tl.maximum(before, 0.0), mask=inner < J)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    there = picture * pixels * C + pixel[:, None] * C + channel[None, :]
    inside = (pixel < pixels)[:, None] & (channel < C)[None, :]
    value = tl.load(gradient + there, mask=inside, other=0.0).to(tl.float32) * gain[None, :] + by_mean[None, :]
    tl.store(result + there, value.to(result.dtype.element_ty), mask=inside)


@triton.jit
def _layer_gradients(
    means, outer, inners, hidden, squeeze, squeeze_bias, spread, spread_bias,
    PICTURES: tl.constexpr, C: tl.constexpr, CB: tl.constexpr, J: tl.constexpr, JB: tl.constexpr,
):  # fmt: skip
    """Sums over the pictures, in one program: gradients of the small layers' weights and biases."""
    channel, inner = tl.arange(0, CB), tl.arange(0, JB)
    by_squeeze, by_spread = tl.zeros((JB, CB), dtype=tl.float32), tl.zeros((CB, JB), dtype=tl.float32)
    by_squeeze_bias, by_spread_bias = tl.zeros((JB,), dtype=tl.float32), tl.zeros((CB,), dtype=tl.float32)
    for picture in range(PICTURES):
        mean = tl.load(means + picture * C + channel, mask=channel < C, other=0.0)
        slope = tl.load(outer + picture * C + channel, mask=channel < C, other=0.0)
        inner_slope = tl.load(inners + picture * J + inner, mask=inner < J, other=0.0)
        between = tl.load(hidden + picture * J + inner, mask=inner < J, other=0.0)
        by_squeeze += inner_slope[:, None] * mean[None, :]
        by_spread += slope[:, None] * between[None, :]
        by_squeeze_bias += inner_slope
        by_spread_bias += slope
    there = inner[:, None] * C + channel[None, :]
    tl.store(squeeze + there, by_squeeze, mask=(inner < J)[:, None] & (channel < C)[None, :])
    there = channel[:, None] * J + inner[None, :]
    tl.store(spread + there, by_spread, mask=(channel < C)[:, None] & (inner < J)[None, :])
    tl.store(squeeze_bias + inner, by_squeeze_bias, mask=inner < J)
    tl.store(spread_bias + channel, by_spread_bias, mask=channel < C)


class ResidualBlock(torch.autograd.Function):
    """Called as :func:`tools.train.network.residual_block`; FP32 or bf16 features, FP32 small layers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, first: Tensor, second: Tensor, *layers: Tensor) -> Tensor:  # noqa: ANN401 - PyTorch's
        """[N, C, H, W] -> the same, channels-last."""
        x = _channels_last(x)
        hidden = functional.conv2d(x, first, padding=1).relu_()
        residual = _channels_last(functional.conv2d(hidden, second, padding=1))
        sizes, constants = _sizes(x, layers[0])
        vector = x.shape[:2]
        means, gains = (torch.empty(vector, dtype=torch.float32, device=x.device) for _ in range(2))
        result = torch.empty_like(x)
        _scaled[_programs(x, PIXELS)](
            x, residual, _summed(residual, None), *layers, result, means, gains, *sizes, **constants, PIXELS=PIXELS
        )
        ctx.save_for_backward(x, first, second, *layers[:3], hidden, residual, means, gains)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - PyTorch's
        """The gradients by x and by every weight, in their types."""
        x, first, second, squeeze, squeeze_bias, spread, hidden, residual, means, gains = ctx.saved_tensors
        gradient = _channels_last(gradients[0])
        sizes, constants = _sizes(x, squeeze)
        by_residual, outer = torch.empty_like(residual), torch.empty_like(gains)
        inners, between = (gains.new_empty(x.shape[0], squeeze.shape[0]) for _ in range(2))
        _residual_gradient[_programs(x, PIXELS)](
            gradient, _summed(gradient, residual), squeeze, squeeze_bias, spread, means, gains,
            by_residual, outer, inners, between, *sizes, **constants, PIXELS=PIXELS,
        )  # fmt: skip
        spread_bias = gains.new_empty(x.shape[1])
        by_layers = [*(torch.empty_like(each) for each in (squeeze, squeeze_bias, spread)), spread_bias]
        constants.pop("CHUNKS")
        _layer_gradients[(1,)](means, outer, inners, between, *by_layers, PICTURES=x.shape[0], **constants)
        by_hidden, by_second = _convolution_backward(by_residual, hidden, second)
        by_hidden = torch.ops.aten.threshold_backward(by_hidden, hidden, 0)
        by_x, by_first = _convolution_backward(by_hidden, x, first)
        return gradient + by_x, by_first, by_second, *by_layers


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """By the input and by the weight of a 3x3 convolution without a bias."""
    ones, none, transposed, wanted = [1, 1], [0, 0], False, [True, True, False]
    backward = torch.ops.aten.convolution_backward
    by_x, by_weight, _ = backward(gradient, x, weight, None, ones, ones, ones, transposed, none, 1, wanted)
    return by_x, by_weight


def _summed(first: Tensor, second: Tensor | None) -> Tensor:
    batch, channels, height, width = first.shape
    chunks = triton.cdiv(height * width, CHUNK)
    sums = torch.empty(batch, chunks, channels, dtype=torch.float32, device=first.device)
    _sums[_programs(first, CHUNK)](
        first, first if second is None else second, sums, height * width, chunks,
        C=channels, CB=triton.next_power_of_2(channels), CHUNK=CHUNK, PAIR=second is not None, num_warps=8,
    )  # fmt: skip
    return sums


def _programs(x: Tensor, pixels: int) -> tuple[int, int]:
    return triton.cdiv(x.shape[2] * x.shape[3], pixels), x.shape[0]


def _sizes(x: Tensor, squeeze: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
    """Pixels and chunks of a picture, and what kernels are compiled for: sizes and the powers of two that hold them."""
    pixels, inner = x.shape[2] * x.shape[3], squeeze.shape[0]
    chunks = triton.cdiv(pixels, CHUNK)
    padded = triton.next_power_of_2
    constants = {"C": x.shape[1], "CB": padded(x.shape[1]), "J": inner, "JB": max(2, padded(inner))}
    return (pixels, chunks), {**constants, "CHUNKS": max(2, padded(chunks))}


def residual_block(*tensors: Tensor) -> Tensor:
    """As :func:`tools.train.network.residual_block`."""
    return ResidualBlock.apply(*tensors)
