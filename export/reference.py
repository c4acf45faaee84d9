"""Runs the PyTorch FP32 network that every variant of a DeFiAN is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.models.defian import DeFiAN, denormalise, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable


def reference_outputs(network: DeFiAN, images: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Run the reference network on uint8 RGB images [H, W, 3], one by one; uint8 RGB [sH, sW, 3]."""
    return [upscale(network, image[None])[0] for image in images]


def reference_evaluations(network: DeFiAN, images: Iterable[np.ndarray]) -> list[Evaluation]:
    """The same with the values before they were rounded; five times the memory."""
    results = []
    for image in images:
        values = _unclamped(network, image[None])
        shown = values[0].permute(1, 2, 0).contiguous().numpy()
        finite = bool(np.isfinite(shown).all())
        results.append(Evaluation(_rounded(values)[0], finite, np.clip(shown, 0.0, 255.0)))
    return results


def upscale(network: DeFiAN, images: np.ndarray) -> np.ndarray:
    """Run the reference network on a batch of uint8 RGB images [N, H, W, 3]; uint8 RGB [N, sH, sW, 3]."""
    return _rounded(_unclamped(network, images))


def _unclamped(network: DeFiAN, images: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        rgb = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(torch.float32) / 255.0
        return denormalise(network(normalise(rgb))) * 255.0


def _rounded(values: torch.Tensor) -> np.ndarray:
    """Values [N, 3, sH, sW] as uint8 [N, sH, sW, 3]; to nearest even, as ONNX's Round."""
    return torch.round(torch.clamp(values, 0.0, 255.0)).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
