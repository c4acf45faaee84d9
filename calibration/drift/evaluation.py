"""What a network, graph or engine made of one image. Needs numpy alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Evaluation:
    """One image's result.

    Attributes:
        image: uint8 RGB [sH, sW, 3].
        finite: whether all values were finite before they were clamped.
        values: RGB [sH, sW, 3], 0 to 255 before rounding to 8 bits; empty where they can't be seen.
    """

    image: np.ndarray
    finite: bool
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
