"""Patches cut out of pictures that lie decoded on the device: the host draws places, the device gathers pixels.

What a step sees follows from the seed and the step's number alone, so a resumed training goes on as if it had never
stopped.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defian_edge.calibration.photos import EvaluationPair

BLOCK = 256
"""Steps whose draws are made, and uploaded, at a time."""
COLUMNS = 5
"""Of a draw: first LR pixel, LR width, first HR pixel, HR width, turn (0 to 7)."""
AREA_POWER = 0.75
"""How often a picture is drawn grows with its area to this power: large ones hold more, small ones are more varied."""


class PatchBank:
    """All pictures in two flat buffers [pixels, 3], uint8 RGB, on one device.

    Args:
        pairs: pictures whose LR is at least ``patch`` pixels a side.
        scale: of the network.
        patch: side of an LR patch in pixels.
        device: where the buffers lie.
    """

    def __init__(self, pairs: Sequence[EvaluationPair], scale: int, patch: int, device: torch.device) -> None:
        self.scale, self.patch = scale, patch
        self._sizes = np.array([pair.lr.shape[:2] for pair in pairs], np.int64)
        areas = self._sizes.prod(axis=1)
        self._first = np.concatenate([[0], np.cumsum(areas)[:-1]])
        self._shares = np.cumsum(areas**AREA_POWER) / np.sum(areas**AREA_POWER)
        lr = np.concatenate([pair.lr.reshape(-1, 3) for pair in pairs])
        hr = np.concatenate([pair.hr.reshape(-1, 3) for pair in pairs])
        digest = hashlib.sha256(self._sizes.tobytes())
        digest.update(lr.tobytes())
        digest.update(hr.tobytes())
        self.sha256 = digest.hexdigest()
        self._lr, self._hr = torch.from_numpy(lr).to(device), torch.from_numpy(hr).to(device)
        self._rows = {side: torch.arange(side, device=device).view(1, side, 1) for side in (patch, patch * scale)}
        self._columns = {side: rows.view(1, 1, side) for side, rows in self._rows.items()}

    @property
    def bytes(self) -> int:
        """Of both buffers."""
        return self._lr.numel() + self._hr.numel()

    def draws(self, seed: int, block: int, batch: int) -> torch.Tensor:
        """Where the patches of 256 steps lie and how they are turned: int64 [256, batch, 5] on the CPU."""
        random = np.random.default_rng([seed, block])
        uniform = random.random((BLOCK, batch, 3))
        turns = random.integers(8, size=(BLOCK, batch))
        picture = np.minimum(np.searchsorted(self._shares, uniform[..., 0], side="right"), len(self._sizes) - 1)
        height, width = self._sizes[picture, 0], self._sizes[picture, 1]
        top = (uniform[..., 1] * (height - self.patch + 1)).astype(np.int64)
        left = (uniform[..., 2] * (width - self.patch + 1)).astype(np.int64)
        first, scale = self._first[picture], self.scale
        found = [
            first + top * width + left,
            width,
            scale * (first * scale + top * width * scale + left),
            width * scale,
            turns,
        ]
        return torch.from_numpy(np.stack(found, axis=-1))

    def gather(self, draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """LR [N, P, P, 3] and HR [N, sP, sP, 3] patches, uint8 RGB, of draws [N, 5] on the device.

        Flips and rotations are index arithmetic; nothing here waits for the device.
        """
        first_lr, width_lr, first_hr, width_hr, turn = (column.view(-1, 1, 1) for column in draws.unbind(1))
        lr = self._lr[self._places(first_lr, width_lr, turn, self.patch)]
        hr = self._hr[self._places(first_hr, width_hr, turn, self.patch * self.scale)]
        return lr, hr

    def _places(self, first: torch.Tensor, width: torch.Tensor, turn: torch.Tensor, side: int) -> torch.Tensor:
        """Pixel numbers [N, side, side]: bit 2 of the turn transposes, bit 0 flips rows, bit 1 columns."""
        rows, columns = self._rows[side], self._columns[side]
        transposed = (turn & 4) != 0
        row, column = torch.where(transposed, columns, rows), torch.where(transposed, rows, columns)
        row = torch.where((turn & 1) != 0, side - 1 - row, row)
        column = torch.where((turn & 2) != 0, side - 1 - column, column)
        return first + row * width + column
