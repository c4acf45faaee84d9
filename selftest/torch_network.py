"""The reference network in PyTorch on a GPU, from image to image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from defian_edge.models.defian import RGB_MEAN, RGB_STD

if TYPE_CHECKING:
    from defian_edge.models.checkpoint import Checkpoint
    from defian_edge.models.defian import DeFiAN


class Upscaler(nn.Module):
    """uint8 [N, 3, H, W] to uint8 [N, 3, sH, sW] on the device, as a graph does it.

    The colour constants live on the device: ``models.defian.normalise`` takes them from the host at every call, which
    a CUDA graph cannot capture.
    """

    def __init__(self, network: DeFiAN, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self._dtype = network, dtype
        device = next(network.parameters()).device
        self._mean, self._std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (RGB_MEAN, RGB_STD))

    def values(self, image: torch.Tensor) -> torch.Tensor:
        """0 to 255, neither clamped nor rounded, FP32."""
        rgb = ((image.float() / 255.0 - self._mean) / self._std).to(self._dtype)
        if self._dtype is torch.float16:
            rgb = rgb.to(memory_format=torch.channels_last)
        return (self.network(rgb).float() * self._std + self._mean) * 255.0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.values(image).clamp(0.0, 255.0).round().to(torch.uint8)


def fp32_upscaler(checkpoint: Checkpoint) -> Upscaler:
    """In FP32, on the GPU."""
    return Upscaler(checkpoint.network().cuda(), torch.float32)


def fp16_upscaler(checkpoint: Checkpoint) -> Upscaler:
    """In FP16, channels-last, on the GPU."""
    network = checkpoint.network().cuda().half()
    return Upscaler(network.to(memory_format=torch.channels_last), torch.float16)  # pyright: ignore[reportCallIssue]
