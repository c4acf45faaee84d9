"""The Hessian's maps and their gradient as one Triton kernel each; imported only where Triton is wanted.

The numbers of :mod:`tools.train.hessian`. A program owns some pixels of one picture and goes over all channels, so that
it sums over channels by itself: no atomics, and the same bits each time. The backward kernel gathers: a pixel asks the
eight pixels around it, at each dilation, for their slopes, and computes these anew from the features.

Written out, much cancels. With west, east, north, south and the corners around a pixel q,

    lean(q)  = (west + east) - (north + south), which is fxx - fyy: the middle cancels
    cross(q) = (northwest + southeast) - (northeast + southwest), which is fxy
    root(q)  = sqrt(lean^2 + 4 cross^2 + tiny)
    eigenvalue(q) = ((west + east + north + south) - 4 middle + root) / 2

With half(q) the map's gradient at q divided by 2 C, and zero outside of the picture, L = half lean / root and
S = 4 half cross / root, the slopes by fxx, fyy and fxy are half + L, half - L and S, and what a pixel gets back is

    half(west) + half(east) + half(north) + half(south) - 4 half
    + L(west) + L(east) - L(north) - L(south) + S(northwest) - S(northeast) - S(southwest) + S(southeast)

of which the first line is the same for all channels, and nothing asks for L and S at the pixel itself.
"""

# Triton's language: tiles and scalars without annotations, constants of the compilation in capitals
# ruff: noqa: ANN001, ANN202, N803, PLR0913, PLR0917
# What Triton's compiler makes of these functions, no type checker knows.
# pyright: reportMissingImports=false, reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false
# pyright: reportReturnType=false, reportIndexIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from defian_edge.models.defian import DILATIONS
from tools.train.hessian import TINY, Kernels

FORWARD_PIXELS, BACKWARD_PIXELS = 32, 16
"""Pixels of a program, with up to 32 channels at a time and 128 threads: 8 and 4 features a thread, read in one."""
WARPS = 4


@triton.jit
def _inside(grid, Y: tl.constexpr, X: tl.constexpr):
    """Which pixels, moved by Y and X, are in the picture, and where these are, in rows and columns."""
    y, x, height, width, fine = grid
    return fine & (y + Y >= 0) & (y + Y < height) & (x + X >= 0) & (x + X < width)


@triton.jit
def _feature(r, grid, steps, at_channel, Y: tl.constexpr, X: tl.constexpr):
    """FP32 [pixels, channels] at the pixels moved by Y and X; zero outside of the picture."""
    place = (grid[0] + Y) * steps[0] + (grid[1] + X) * steps[1]
    there = r + place[:, None] + at_channel[None, :]
    return tl.load(there, mask=_inside(grid, Y, X)[:, None], other=0.0).to(tl.float32)


@triton.jit
def _half(gradient, grid, steps, share, Y: tl.constexpr, X: tl.constexpr):
    """A map's gradient [pixels, 1] there times ``share``; zero outside of the picture."""
    place = (grid[0] + Y) * steps[0] + (grid[1] + X) * steps[1]
    return (tl.load(gradient + place, mask=_inside(grid, Y, X), other=0.0) * share)[:, None]


@triton.jit
def _parts(r, grid, steps, at_channel, Y: tl.constexpr, X: tl.constexpr, D: tl.constexpr):
    """West + east + north + south, lean and cross of the pixels moved by Y and X, at dilation D."""
    level = _feature(r, grid, steps, at_channel, Y, X - D) + _feature(r, grid, steps, at_channel, Y, X + D)
    plumb = _feature(r, grid, steps, at_channel, Y - D, X) + _feature(r, grid, steps, at_channel, Y + D, X)
    falling = _feature(r, grid, steps, at_channel, Y - D, X - D) + _feature(r, grid, steps, at_channel, Y + D, X + D)
    rising = _feature(r, grid, steps, at_channel, Y - D, X + D) + _feature(r, grid, steps, at_channel, Y + D, X - D)
    return level + plumb, level - plumb, falling - rising


@triton.jit
def _lean_slope(r, grid, steps, at_channel, tiny, Y: tl.constexpr, X: tl.constexpr, D: tl.constexpr):
    """``lean / root`` there."""
    _, lean, cross = _parts(r, grid, steps, at_channel, Y, X, D)
    return lean * tl.rsqrt(lean * lean + 4.0 * (cross * cross) + tiny)


@triton.jit
def _cross_slope(r, grid, steps, at_channel, tiny, Y: tl.constexpr, X: tl.constexpr, D: tl.constexpr):
    """``4 cross / root`` there."""
    _, lean, cross = _parts(r, grid, steps, at_channel, Y, X, D)
    return 4.0 * cross * tl.rsqrt(lean * lean + 4.0 * (cross * cross) + tiny)


@triton.jit
def _map_kernel(
    r, maps, height, width, r_n, r_c, r_y, r_x, tiny,
    C: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr, DILATIONS: tl.constexpr,
):  # fmt: skip
    """All maps, contiguous, of ``PIXELS`` pixels of one picture."""
    at = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    picture = tl.program_id(1).to(tl.int64)
    grid = (at // width, at % width, height, width, at < height * width)
    steps = (r_y, r_x)
    r += picture * r_n
    maps += picture * (len(DILATIONS) * height * width)
    for index in tl.static_range(len(DILATIONS)):
        total = tl.zeros((PIXELS,), dtype=tl.float32)
        for first in range(0, C, CHANNELS):
            at_channel = (first + tl.arange(0, CHANNELS)) * r_c
            around, lean, cross = _parts(r, grid, steps, at_channel, 0, 0, DILATIONS[index])
            root = tl.sqrt(lean * lean + 4.0 * (cross * cross) + tiny)
            middle = _feature(r, grid, steps, at_channel, 0, 0)
            total += tl.sum(around - 4.0 * middle + root, axis=1)
        tl.store(maps + index * height * width + at, total * (0.5 / C), mask=grid[4])


@triton.jit
def _carried_back(r, g, grid, steps, g_steps, at_channel, share, tiny, D: tl.constexpr):
    """What pixels get back from the map of one dilation, whose gradient is g: FP32 [pixels, channels]."""
    total = -4.0 * _half(g, grid, g_steps, share, 0, 0)
    for side in tl.static_range(-1, 2, 2):
        slope = 1.0 + _lean_slope(r, grid, steps, at_channel, tiny, 0, side * D, D)
        total += _half(g, grid, g_steps, share, 0, side * D) * slope
        slope = 1.0 - _lean_slope(r, grid, steps, at_channel, tiny, side * D, 0, D)
        total += _half(g, grid, g_steps, share, side * D, 0) * slope
        slope = _cross_slope(r, grid, steps, at_channel, tiny, side * D, side * D, D)
        total += _half(g, grid, g_steps, share, side * D, side * D) * slope
        slope = _cross_slope(r, grid, steps, at_channel, tiny, side * D, -side * D, D)
        total -= _half(g, grid, g_steps, share, side * D, -side * D) * slope
    return total


@triton.jit
def _gradient_kernel(
    r, gradient, result, height, width, r_n, r_c, r_y, r_x, g_n, g_c, g_y, g_x, tiny,
    C: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr, DILATIONS: tl.constexpr,
):  # fmt: skip
    """The gradient by the features of ``PIXELS`` pixels of one picture; ``result`` lies as ``r`` does."""
    at = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    picture = tl.program_id(1).to(tl.int64)
    grid = (at // width, at % width, height, width, at < height * width)
    steps, g_steps = (r_y, r_x), (g_y, g_x)
    r += picture * r_n
    result += picture * r_n
    gradient += picture * g_n
    for first in range(0, C, CHANNELS):
        at_channel = (first + tl.arange(0, CHANNELS)) * r_c
        total = tl.zeros((PIXELS, CHANNELS), dtype=tl.float32)
        for index in tl.static_range(len(DILATIONS)):
            g = gradient + index * g_c
            total += _carried_back(r, g, grid, steps, g_steps, at_channel, 0.5 / C, tiny, DILATIONS[index])
        place = grid[0] * r_y + grid[1] * r_x
        there = result + place[:, None] + at_channel[None, :]
        tl.store(there, total.to(result.dtype.element_ty), mask=grid[4][:, None])


def maps_of(r: Tensor) -> Tensor:
    """As :func:`tools.train.hessian.maps_of`: [N, C, H, W] -> FP32 [N, 3, H, W], contiguous."""
    batch, channels, height, width = r.shape
    maps = torch.empty(batch, len(DILATIONS), height, width, dtype=torch.float32, device=r.device)
    _map_kernel[(triton.cdiv(height * width, FORWARD_PIXELS), batch)](
        r, maps, height, width, *r.stride(), TINY,
        C=channels, CHANNELS=_tile(channels), PIXELS=FORWARD_PIXELS, DILATIONS=DILATIONS, num_warps=WARPS,
    )  # fmt: skip
    return maps


def gradient_of(r: Tensor, gradient: Tensor) -> Tensor:
    """The gradient by r, in r's type and strides, from that of the maps [N, 3, H, W], FP32 of any strides."""
    batch, channels, height, width = r.shape
    result = torch.empty_strided(r.shape, r.stride(), dtype=r.dtype, device=r.device)
    _gradient_kernel[(triton.cdiv(height * width, BACKWARD_PIXELS), batch)](
        r, gradient, result, height, width, *r.stride(), *gradient.stride(), TINY,
        C=channels, CHANNELS=_tile(channels), PIXELS=BACKWARD_PIXELS, DILATIONS=DILATIONS, num_warps=WARPS,
    )  # fmt: skip
    return result


def _tile(channels: int) -> int:
    """Channels at a time: the largest power of two that divides them, at most 32, so that none needs a mask."""
    return min(channels & -channels, 32)


FUSED = Kernels(maps_of, gradient_of)
