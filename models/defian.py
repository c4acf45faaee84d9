"""DeFiAN in PyTorch: the plain, readable network that every exported graph is measured against.

The parts carry the paper's names (arXiv 2009.13134) and the parameters carry the authors' state-dict
names, so that their checkpoints load strictly. Everything here works in the normalised colour space,
``(rgb - mean) / std`` with RGB in [0, 1]; :func:`normalise` and :func:`denormalise` go there and back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

RGB_MEAN = (0.485, 0.456, 0.406)
RGB_STD = (0.229, 0.224, 0.225)
DILATIONS = (1, 2, 3)
REDUCTION = 16
DAC_EPSILON = 1e-5

STENCIL_XX = ((0.0, 0.0, 0.0), (1.0, -2.0, 1.0), (0.0, 0.0, 0.0))
STENCIL_YY = ((0.0, 1.0, 0.0), (0.0, -2.0, 0.0), (0.0, 1.0, 0.0))
STENCIL_XY = ((1.0, 0.0, -1.0), (0.0, 0.0, 0.0), (-1.0, 0.0, 1.0))


@dataclass(frozen=True)
class Architecture:
    """The four numbers that fix a DeFiAN: C channels, N modules of M blocks, and the scale."""

    channels: int
    blocks: int
    modules: int
    scale: int

    @property
    def size(self) -> str:
        """``S`` or ``L`` for the paper's presets, otherwise ``custom``."""
        preset = {(32, 10, 5): "S", (64, 20, 10): "L"}
        return preset.get((self.channels, self.blocks, self.modules), "custom")

    def __str__(self) -> str:
        return f"DeFiAN-{self.size} x{self.scale} (C={self.channels}, M={self.blocks}, N={self.modules})"


def small(scale: int) -> Architecture:
    """The paper's DeFiAN_S at scale 2, 3 or 4."""
    return Architecture(channels=32, blocks=10, modules=5, scale=scale)


def large(scale: int) -> Architecture:
    """The paper's DeFiAN_L at scale 2, 3 or 4."""
    return Architecture(channels=64, blocks=20, modules=10, scale=scale)


def _channel_vector(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)


def normalise(rgb: Tensor) -> Tensor:
    """Map RGB in [0, 1], [N, 3, H, W], to the space the network works in."""
    return (rgb - _channel_vector(RGB_MEAN, rgb)) / _channel_vector(RGB_STD, rgb)


def denormalise(features: Tensor) -> Tensor:
    """The inverse of :func:`normalise`; the result is not clamped."""
    return features * _channel_vector(RGB_STD, features) + _channel_vector(RGB_MEAN, features)


class ResidualChannelAttentionBlock(nn.Module):
    """conv-ReLU-conv, scaled per channel by an attention from its global mean, plus the input (RCAB)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )
        squeezed = channels // REDUCTION
        self.calayer = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.block(x)
        attention = self.calayer(residual.mean(dim=(2, 3), keepdim=True))
        return x + residual * attention


class HessianFilter(nn.Module):
    """Larger eigenvalue of the 2x2 Hessian of each channel at one dilation (MSHF of one kernel size).

    The stencils are frozen; the biases are frozen too, at values that differ from checkpoint to checkpoint.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.grad_xx = _frozen_bank(channels, dilation, STENCIL_XX)
        self.grad_yy = _frozen_bank(channels, dilation, STENCIL_YY)
        self.grad_xy = _frozen_bank(channels, dilation, STENCIL_XY)

    def forward(self, features: Tensor) -> Tensor:
        fxx, fyy, fxy = self.grad_xx(features), self.grad_yy(features), self.grad_xy(features)
        return ((fxx + fyy) + torch.sqrt((fxx - fyy) ** 2 + 4.0 * fxy**2)) / 2.0


def _frozen_bank(channels: int, dilation: int, stencil: tuple[tuple[float, ...], ...]) -> nn.Conv2d:
    bank = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels)
    with torch.no_grad():
        bank.weight.copy_(torch.tensor(stencil).expand_as(bank.weight))
    return bank.requires_grad_(requires_grad=False)


class DiEnDec(nn.Module):
    """Dilated encoder-decoder: three eigenvalue maps [N, 3, H, W] to one attention map [N, 1, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 12, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, padding=4, dilation=4),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(24, 12, 3, padding=4, dilation=4),
            nn.ReLU(),
            nn.ConvTranspose2d(12, 6, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 3, 3, padding=1),
            nn.ReLU(),
        )
        self.gate = nn.Conv2d(3, 1, 1)

    def forward(self, eigenvalues: Tensor) -> Tensor:
        return self.gate(self.decoder(self.encoder(eigenvalues)))


class DistributionAwareCorrection(nn.Module):
    """DAC: give the attention ``v`` a mean and spread per channel, predicted from those of the features ``x``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = _bottleneck(channels)
        self.std = _bottleneck(channels)

    def forward(self, v: Tensor, x: Tensor) -> Tensor:
        mean_v, deviation_v = spatial_statistics(v)
        mean_x, deviation_x = spatial_statistics(x)
        return (v - mean_v) / deviation_v * self.std(deviation_x) + self.mean(mean_x)


def _bottleneck(channels: int) -> nn.Sequential:
    squeezed = channels // REDUCTION
    return nn.Sequential(
        nn.Conv2d(channels, squeezed, 1, bias=False), nn.ReLU(), nn.Conv2d(squeezed, channels, 1, bias=False)
    )


def spatial_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and ``sqrt(unbiased variance + 1e-5)`` over H x W, each [N, C, 1, 1]."""
    deviation = torch.sqrt(x.var(dim=(2, 3), keepdim=True, correction=1) + DAC_EPSILON)
    return x.mean(dim=(2, 3), keepdim=True), deviation


class DeFiAM(nn.Module):
    """One detail-fidelity attention module: blocks, their Hessian's attention map, and the module's input added."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.body_block = nn.Sequential(*(ResidualChannelAttentionBlock(channels) for _ in range(blocks)))
        self.hessian3 = nn.Sequential(HessianFilter(channels, DILATIONS[0]))
        self.hessian5 = nn.Sequential(HessianFilter(channels, DILATIONS[1]))
        self.hessian7 = nn.Sequential(HessianFilter(channels, DILATIONS[2]))
        self.coder = nn.Sequential(DiEnDec())
        self.dac = nn.Sequential(DistributionAwareCorrection(channels))

    def eigenvalue_maps(self, r: Tensor) -> Tensor:
        """Channel mean of the larger Hessian eigenvalue at dilations 1, 2, 3: [N, C, H, W] -> [N, 3, H, W]."""
        filters = (self.hessian3, self.hessian5, self.hessian7)
        return torch.cat([filter_(r).mean(dim=1, keepdim=True) for filter_ in filters], dim=1)

    def attend(self, x: Tensor, r: Tensor, eigenvalues: Tensor) -> Tensor:
        """The module's output from its input ``x``, its blocks' output ``r`` and the eigenvalue maps of ``r``."""
        v = self.coder(eigenvalues).expand_as(x)
        return r * torch.sigmoid(self.dac[0](v, x)) + x

    def forward(self, x: Tensor) -> Tensor:
        r = self.body_block(x)
        return self.attend(x, r, self.eigenvalue_maps(r))


class DeFiAN(nn.Module):
    """The whole network: normalised RGB [N, 3, H, W] -> normalised RGB [N, 3, sH, sW]. H*W must exceed 1."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        channels = architecture.channels
        self.input = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(DeFiAM(channels, architecture.blocks) for _ in range(architecture.modules)))
        self.tail = nn.Conv2d(channels, channels, 3, padding=1)
        self.upscale = nn.Sequential(_upscaler(channels, architecture.scale))
        self.output = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        shallow = self.input(lr)
        deep = self.tail(self.body(shallow)) + shallow
        return self.output(self.upscale(deep))


def _upscaler(channels: int, scale: int) -> nn.Sequential:
    factors = {2: (2,), 3: (3,), 4: (2, 2)}[scale]
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [nn.Conv2d(channels, channels * factor**2, 3, padding=1, bias=False), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)
