"""What a network, graph or engine made of one image. Needs numpy alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from defian_edge.calibration.drift.overshoot import Overshoot


@dataclass(frozen=True)
class Evaluation:
    """One image's result.

    Attributes:
        image: uint8 RGB [sH, sW, 3].
        finite: whether all values were finite before they were clamped.
        values: RGB [sH, sW, 3], 0 to 255 before rounding to 8 bits; empty where they can't be seen.
        overshoot: the INT8 range that suits the image least; None where there is none, or none can be seen.
    """

    image: np.ndarray
    finite: bool
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    overshoot: Overshoot | None = None
