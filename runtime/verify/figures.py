"""How near a picture is to PyTorch's and to its original, with numpy alone.

``calibration/drift/metrics.py`` takes these as well, so that a device says what an export says; a test holds Y against
scikit-image's, to the last digit.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DefianError
from ..json_values import json_ready

if TYPE_CHECKING:
    from numpy.typing import NDArray

PEAK = 255.0
CEILING = 10.0 * math.log10(12.0 * PEAK**2)
"""58.9 dB, what rounding a picture to 8 bits costs by itself. Drift above it is of nothing that can be seen."""
BLOCK = 32
"""Side in HR pixels of the blocks of which the worst one is told: a fault in one place hides in the whole's mean."""
METRIC = (
    "PSNR-Y: Y of BT.601 in studio range (16 to 235) of the 8-bit pictures, without `scale` pixels at each border, "
    "peak 255. PSNR: over RGB, no border cut. Drift: PSNR-Y of PyTorch's picture against the original minus that of "
    f"the artefact's, each counted with {CEILING:.1f} dB at most. Block: the lowest PSNR over RGB in "
    f"{BLOCK}x{BLOCK} pixels."
)
YCBCR = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])
"""ITU-R BT.601, of RGB from 0 to 1. All three rows are multiplied, as scikit-image does, so that sums round alike."""


@dataclass(frozen=True)
class Figures:
    """One picture against the reference's, and both against the original. dB; infinite for equal pictures.

    Attributes:
        psnr_y_to_reference: PSNR-Y against PyTorch's picture.
        psnr_to_reference: the same over RGB, no border cut.
        psnr_y, reference_psnr_y: PSNR-Y of the picture and of PyTorch's against the original; NaN where there is none.
        worst_block: the lowest PSNR over RGB of a block of ``BLOCK`` pixels a side.
        equal_share: share of the uint8 values that are equal to the reference's, 0 to 1.
        largest_step: the largest difference of two values, 0 to 255.
    """

    psnr_y_to_reference: float
    psnr_to_reference: float
    psnr_y: float
    reference_psnr_y: float
    worst_block: float
    equal_share: float
    largest_step: int

    @property
    def drift(self) -> float:
        """Loss of PSNR-Y against the original in dB, positive is worse; NaN where there is no original."""
        return min(self.reference_psnr_y, CEILING) - min(self.psnr_y, CEILING)

    def as_json(self) -> dict[str, Any]:
        """In JSON's types; infinity and NaN become null."""
        return json_ready(asdict(self) | {"drift_db": self.drift})

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Figures:
        """What :meth:`as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        endless = {
            name: math.inf if values[name] is None else float(values[name])
            for name in ("psnr_y_to_reference", "psnr_to_reference", "worst_block")
        }
        nothing = math.nan if values["drift_db"] is None else math.inf
        absent = {
            name: nothing if values[name] is None else float(values[name]) for name in ("psnr_y", "reference_psnr_y")
        }
        if isinstance(values["largest_step"], bool) or not isinstance(values["largest_step"], int):
            raise TypeError(f"largest_step is {values['largest_step']!r}")
        return cls(**endless, **absent, equal_share=float(values["equal_share"]), largest_step=values["largest_step"])


def figures_of(
    picture: NDArray[np.uint8], reference: NDArray[np.uint8], original: NDArray[np.uint8] | None, scale: int
) -> Figures:
    """Compare a picture with the reference's, and both with the original.

    Args:
        picture: uint8 RGB [H, W, 3].
        reference: the same, of the PyTorch FP32 network.
        original: the same; None where there is none.
        scale: of the network, the border that PSNR-Y leaves out.

    Raises:
        DefianError: the sizes differ.
    """
    if picture.shape != reference.shape:
        raise DefianError(f"Expected a picture of {list(reference.shape)}, found {list(picture.shape)}.")
    step = np.abs(picture.astype(np.int16) - reference.astype(np.int16))
    return Figures(
        psnr_y_to_reference=psnr_y(picture, reference, scale),
        psnr_to_reference=psnr(picture, reference),
        psnr_y=math.nan if original is None else psnr_y(picture, original, scale),
        reference_psnr_y=math.nan if original is None else psnr_y(reference, original, scale),
        worst_block=psnr_of(float(block_errors(picture, reference).max())),
        equal_share=float(np.count_nonzero(step == 0)) / step.size,
        largest_step=int(step.max()),
    )


def luma(image: NDArray[np.uint8], border: int) -> NDArray[np.float64]:
    """Y of BT.601 in studio range (16 to 235) of uint8 RGB [H, W, 3], without ``border`` pixels at each side."""
    y = (np.multiply(image, 1.0 / PEAK, dtype=np.float64) @ YCBCR.T)[..., 0] + 16
    return y[border : y.shape[0] - border, border : y.shape[1] - border]


def psnr_y(image: NDArray[np.uint8], reference: NDArray[np.uint8], border: int) -> float:
    """Peak signal-to-noise ratio on Y in dB, peak 255; infinite for equal images."""
    return psnr(luma(image, border), luma(reference, border))


def psnr(image: NDArray[Any], reference: NDArray[Any]) -> float:
    """``10 log10(255^2 / mean squared error)`` in dB over all elements; infinite for equal arrays, NaN for none."""
    if not image.size:
        return math.nan
    return psnr_of(float(np.mean((image.astype(np.float64) - reference.astype(np.float64)) ** 2)))


def psnr_of(error: float) -> float:
    """The same of a mean squared error."""
    return math.inf if error == 0.0 else 10.0 * math.log10(PEAK**2 / error)


def block_errors(picture: NDArray[np.uint8], reference: NDArray[np.uint8], block: int = BLOCK) -> NDArray[np.float64]:
    """Mean squared error of each block of so many pixels a side, [rows, columns]; the last ones may be smaller."""
    error = np.square(picture.astype(np.float64) - reference.astype(np.float64)).mean(axis=2)
    rows, columns = ([*range(0, side, block), side] for side in error.shape)
    sums = np.add.reduceat(np.add.reduceat(error, rows[:-1], axis=0), columns[:-1], axis=1)
    return sums / (np.diff(np.array(rows, np.float64))[:, None] * np.diff(np.array(columns, np.float64)))
