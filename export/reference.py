"""The PyTorch FP32 reference that every variant is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from calibration.evaluator import Evaluation
from models.defian import DeFiAN, denormalise, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable


def reference_outputs(network: DeFiAN, images: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Run the reference network on uint8 RGB images [H, W, 3], one by one; uint8 RGB [sH, sW, 3]."""
    return [upscale(network, image[None])[0] for image in images]


def reference_evaluations(network: DeFiAN, images: Iterable[np.ndarray]) -> list[Evaluation]:
    """The same with the values before they were rounded; five times the memory."""
    results = []
    for image in images:
        values = _unclamped(network, image[None])[0]
        clamped = np.clip(values, 0.0, 255.0)
        results.append(Evaluation(_rounded(clamped), bool(np.isfinite(values).all()), clamped))
    return results


def upscale(network: DeFiAN, images: np.ndarray) -> np.ndarray:
    """Run the reference network on a batch of uint8 RGB images [N, H, W, 3]; uint8 RGB [N, sH, sW, 3]."""
    return _rounded(np.clip(_unclamped(network, images), 0.0, 255.0))


def _unclamped(network: DeFiAN, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        rgb = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(torch.float32) / 255.0
        upscaled = denormalise(network(normalise(rgb))) * 255.0
        return upscaled.permute(0, 2, 3, 1).contiguous().numpy()


def _rounded(values: np.ndarray) -> np.ndarray:
    """To nearest even, as ONNX's Round."""
    return np.rint(values).astype(np.uint8)
