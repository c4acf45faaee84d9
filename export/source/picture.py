"""Between uint8 pictures and a network's own numbers: range, channel order, mean and deviation, luma.

This is the arithmetic outside of the graph, in numpy: what the reference is computed by. :mod:`.wrap` puts the same
into the graph, and is held against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from PIL import Image

from defian_edge.runtime.arguments import shown
from defian_edge.runtime.errors import DefianError

WHITE = 255.0
LUMA = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])
"""RGB in [0, 1] -> Y, Cb, Cr without their offsets: ITU-R BT.601, section 2.5.1, as MATLAB's ``rgb2ycbcr``."""
OFFSETS = np.array([16.0, 128.0, 128.0])
"""Of Y, Cb and Cr in 0 to 255."""


class Order(str, Enum):
    """Of a network's three channels."""

    RGB = "rgb"
    BGR = "bgr"


class Channels(str, Enum):
    """What a network upscales.

    ``rgb``: three channels. ``y``: luma alone, as MATLAB's ``rgb2ycbcr`` makes it and the SR papers measure it; chroma
    is upscaled by a bicubic filter beside the network.
    """

    RGB = "rgb"
    Y = "y"


RANGES: dict[str, tuple[float, float]] = {"0..1": (0.0, 1.0), "0..255": (0.0, 255.0), "-1..1": (-1.0, 1.0)}


@dataclass(frozen=True)
class PictureFormat:
    """What a network takes for a picture, and gives.

    A grey level g from 0 to 255 is ``(low + g / 255 * (high - low) - mean) / std`` to the network, and what it gives is
    read the same way back.

    Attributes:
        input_range: black and white of the network's numbers, before mean and deviation: ``0..1``, ``0..255`` or
            ``-1..1``.
        order: of the channels.
        mean, std: per channel, in the order that the network has; one of each for luma.
        channels: three colours, or luma.

    Raises:
        DefianError: an unknown range, a deviation that is not above 0, or another number of values than channels.
    """

    input_range: str = "0..1"
    order: Order = Order.RGB
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels: Channels = Channels.RGB

    def __post_init__(self) -> None:
        if self.input_range not in RANGES:
            raise DefianError(f"--input-range {shown(self.input_range)}: expected one of {', '.join(RANGES)}.")
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            if len(values) not in (0, self.count) or not np.isfinite(values).all():
                raise DefianError(f"{name}: expected {self.count} finite numbers, found {shown(str(values))}.")
        if self.std and min(self.std) <= 0.0:
            raise DefianError(f"--std: expected numbers above 0, found {shown(str(self.std))}.")
        if self.channels is Channels.Y and self.order is not Order.RGB:
            raise DefianError("--channel-order goes with --channels rgb: luma is one channel.")

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> PictureFormat:
        """The format that :meth:`as_json` has written.

        Raises:
            DefianError: it is none.
        """
        try:
            mean, std = (tuple(float(each) for each in said.get(name, ())) for name in ("mean", "std"))
            return cls(str(said["input_range"]), Order(said["order"]), mean, std, Channels(said["channels"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DefianError(f"Expected the format of a network's pictures, found {shown(str(said))}.") from error

    def as_json(self) -> dict[str, Any]:
        """What a manifest keeps."""
        return {
            "input_range": self.input_range,
            "order": self.order.value,
            "mean": list(self.mean),
            "std": list(self.std),
            "channels": self.channels.value,
        }

    @property
    def count(self) -> int:
        """Channels of the network."""
        return 1 if self.channels is Channels.Y else 3

    @property
    def gain(self) -> np.ndarray:
        """What a grey level is multiplied with, per channel of the network, in float64."""
        low, high = RANGES[self.input_range]
        return (high - low) / WHITE / self._deviations()

    @property
    def offset(self) -> np.ndarray:
        """What is added then."""
        means = np.array(self.mean or (0.0,) * self.count)
        return (RANGES[self.input_range][0] - means) / self._deviations()

    def _deviations(self) -> np.ndarray:
        return np.array(self.std or (1.0,) * self.count)

    def to_values(self, images: np.ndarray) -> np.ndarray:
        """The network's numbers, float32 [N, C, H, W], of uint8 RGB [N, H, W, 3]."""
        levels = images.astype(np.float64)
        if self.channels is Channels.Y:
            levels = levels / WHITE @ LUMA[:1].T + OFFSETS[:1]
        elif self.order is Order.BGR:
            levels = levels[..., ::-1]
        return (levels * self.gain + self.offset).astype(np.float32).transpose(0, 3, 1, 2).copy()

    def to_levels(self, values: np.ndarray, images: np.ndarray) -> np.ndarray:
        """RGB in grey levels, float32 [N, sH, sW, 3], neither clamped nor rounded, of what the network gives.

        Args:
            values: float32 [N, C, sH, sW].
            images: uint8 RGB [N, H, W, 3] that it was given, for their chroma.
        """
        levels = (values.astype(np.float64).transpose(0, 2, 3, 1) - self.offset) / self.gain
        if self.channels is Channels.Y:
            chroma = np.stack([_upscaled_chroma(image, levels.shape[1:3]) for image in images])
            levels = np.concatenate([levels - OFFSETS[0], chroma], axis=-1) @ np.linalg.inv(LUMA).T * WHITE
        elif self.order is Order.BGR:
            levels = levels[..., ::-1]
        return levels.astype(np.float32)

    def __str__(self) -> str:
        words = "luma" if self.channels is Channels.Y else self.order.value.upper()
        shifted = "".join(
            f", {name} {', '.join(f'{each:g}' for each in values)}"
            for name, values in (("mean", self.mean), ("std", self.std))
            if values
        )
        return f"{words} in {self.input_range}{shifted}"


def _upscaled_chroma(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Cb and Cr of uint8 RGB [H, W, 3] without their offsets, by Pillow's bicubic filter: float64 [sH, sW, 2]."""
    chroma = (image / WHITE @ LUMA[1:].T).astype(np.float32)
    height, width = size
    planes = [
        Image.fromarray(chroma[..., plane].copy()).resize((width, height), Image.Resampling.BICUBIC) for plane in (0, 1)
    ]
    return np.stack([np.asarray(plane, np.float64) for plane in planes], axis=-1)
