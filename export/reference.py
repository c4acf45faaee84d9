"""The PyTorch FP32 reference that every variant is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from models.defian import DeFiAN, denormalise, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable


def reference_outputs(network: DeFiAN, images: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Run the reference network on uint8 RGB images [H, W, 3], one by one; uint8 RGB [sH, sW, 3]."""
    return [_upscale(network, image) for image in images]


def _upscale(network: DeFiAN, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        rgb = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(torch.float32) / 255.0
        upscaled = denormalise(network(normalise(rgb))) * 255.0
        return torch.round(torch.clamp(upscaled, 0.0, 255.0)).to(torch.uint8)[0].permute(1, 2, 0).contiguous().numpy()
