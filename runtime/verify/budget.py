"""When a picture is near enough to PyTorch's: what a device, an export and a benchmark judge by."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ..errors import DefianError
from .figures import CEILING

if TYPE_CHECKING:
    from .figures import Figures

BELOW_PROMISE = 3.0
"""dB. A GPU sums in another order than the emulation and may use TF32, which costs less than this; what is known to be
wrong costs more."""
UNPROMISED = 45.0
"""dB of PSNR over RGB that a photo must have where nothing was promised and no budget was given."""
LOOSER = 2.0
"""Factor of what one block may be below the promise, and of what a hard picture may be."""
OPTIONS = {
    "drift": "--max-drift",
    "psnr_to_reference": "--min-psnr-to-reference",
    "below_promise": "--max-below-promise",
    "mean_drift": "--max-mean-drift",
    "tile_drift": "--max-tile-drift",
}
"""What the limits are called on command lines."""


@dataclass(frozen=True)
class Limits:
    """What one photo has to keep, in dB, wherever it is judged.

    Attributes:
        drift: PSNR-Y that any photo may lose against PyTorch's; None for no limit.
        psnr_to_reference: least PSNR over RGB of any photo to PyTorch's; None for no limit.

    Raises:
        DefianError: a limit is negative or no number.
    """

    drift: float | None = None
    psnr_to_reference: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = getattr(self, field.name)
            if limit is not None and not (limit >= 0.0 and math.isfinite(limit)):
                raise DefianError(f"Expected {OPTIONS[field.name]} of 0 dB or more, found {limit}.")

    def beyond(self, drift: float | None, psnr_to_reference: float | None) -> list[str]:
        """What is beyond a limit, in words; None is not judged, and what is no number is within no limit."""
        words = []
        if self.drift is not None and drift is not None and not drift <= self.drift:
            words.append(f"lost {drift:.4f} dB, {drift - self.drift:.4f} dB over the budget of {self.drift:g} dB")
        least = self.psnr_to_reference
        if least is not None and psnr_to_reference is not None and not psnr_to_reference >= least:
            words.append(f"has {psnr_to_reference:.2f} dB to the reference's picture of at least {least:g}")
        return words


@dataclass(frozen=True)
class Budget(Limits):
    """What a picture of a reference pack has to keep on a device.

    Attributes:
        psnr_to_reference: None for no limit but ``UNPROMISED``, where nothing was promised.
        below_promise: by how much a photo's PSNR over RGB may be lower than the export promised; twice as much for a
            block of a photo and for hard pictures. Both count with ``CEILING`` at most.
    """

    below_promise: float = BELOW_PROMISE

    def exceeded(self, found: Figures, promised: Figures | None, *, hard: bool) -> list[str]:
        """What is beyond a limit, in words; empty if nothing is."""
        least = UNPROMISED if self.psnr_to_reference is None and promised is None else self.psnr_to_reference
        words = Limits(self.drift, least).beyond(
            None if math.isnan(found.drift) else found.drift,  # there is no original
            None if hard else found.psnr_to_reference,
        )
        if promised is None:
            return words
        limit = self.below_promise * (LOOSER if hard else 1.0)
        for name, allowed, told in (("psnr_to_reference", limit, ""), ("worst_block", limit * LOOSER, " in one block")):
            value, promise = getattr(found, name), getattr(promised, name)
            if below(value, promise) > allowed:
                words.append(
                    f"{value:.2f} dB{told} to the reference's picture, {below(value, promise):.2f} below the promised "
                    f"{promise:.2f} of at most {allowed:g}"
                )
        return words


def below(value: float, promise: float) -> float:
    """By how many dB a PSNR is lower than promised, both counted with ``CEILING`` at most; negative if it is higher."""
    return min(promise, CEILING) - min(value, CEILING)
