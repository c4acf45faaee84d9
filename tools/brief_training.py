"""A few hundred steps of training, after which what the networks of :mod:`tools.architectures` give are pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from defian_edge.calibration.photos import DEFAULT_CALIBRATION, bundled_photos
from defian_edge.runtime.images import downscale, read_image

if TYPE_CHECKING:
    from torch import Tensor

    from defian_edge.export.source.picture import PictureFormat

SIDE = 32
"""LR pixels of a patch's side; a multiple of what every one of the networks needs."""
BATCH = 8
RATE = 1e-3
"""Of Adam at the beginning; it falls to 0 along half a cosine."""
NOISE = 8.0
"""Grey levels, as a standard deviation, of what a network of scale 1 learns to take away."""


def train_briefly(network: nn.Module, picture: PictureFormat, scale: int, steps: int, seed: int = 0) -> nn.Module:
    """Train in place by the L1 loss on bundled photos that drift is not measured on.

    Args:
        network: float32 [N, C, H, W] -> [N, C, sH, sW].
        picture: what it takes for a picture.
        scale: s; LR is made by Pillow's bicubic filter, and at scale 1 by noise.
        steps: of 8 patches each.
        seed: of the patches and the noise.

    Returns:
        The network, in evaluation mode.
    """
    pairs = [downscale(read_image(path), scale) for path in bundled_photos(DEFAULT_CALIBRATION)]
    chosen = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    network.train()
    for _ in range(steps):
        given, wanted = _batch(pairs, picture, scale, chosen)
        optimiser.zero_grad()
        nn.functional.l1_loss(network(given), wanted).backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def _batch(
    pairs: list[tuple[np.ndarray, np.ndarray]], picture: PictureFormat, scale: int, chosen: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Patches of LR and HR, in the network's numbers."""
    small, large = [], []
    for _ in range(BATCH):
        lr, hr = pairs[chosen.integers(len(pairs))]
        top, left = (int(chosen.integers(side - SIDE + 1)) for side in lr.shape[:2])
        patch = lr[top : top + SIDE, left : left + SIDE]
        if scale == 1:
            patch = np.clip(np.rint(patch + chosen.normal(0.0, NOISE, patch.shape)), 0, 255).astype(np.uint8)
        small.append(patch)
        large.append(hr[scale * top : scale * (top + SIDE), scale * left : scale * (left + SIDE)])
    given, wanted = (torch.from_numpy(picture.to_values(np.stack(each))) for each in (small, large))
    return given, wanted
