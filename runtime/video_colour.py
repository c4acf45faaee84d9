"""Colours of a film: which matrix and range its numbers have, to RGB and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BT601, BT709 = 5, 1
"""Colour matrices by their numbers in ITU-T H.273 (5: BT.470 System B, G, which has BT.601's)."""
FULL_RANGE, STUDIO_RANGE = 2, 1
HIGH_DEFINITION = 720
SWSCALE_MATRIX = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020", 10: "BT2020"}
"""H.273's number -> FFmpeg's name of the conversion."""


@dataclass(frozen=True)
class Colours:
    """By their numbers in ITU-T H.273: matrix, range, primaries and transfer of a film."""

    matrix: int
    range: int
    primaries: int
    transfer: int

    @classmethod
    def of(cls, context: Any) -> Colours:  # noqa: ANN401 - a codec's context
        """Those that a film names; without a matrix BT.601 below 720 lines and BT.709 from there on."""
        matrix = int(context.colorspace)
        if matrix not in SWSCALE_MATRIX:
            matrix = BT709 if context.height >= HIGH_DEFINITION else BT601
        return cls(matrix, int(context.color_range) or STUDIO_RANGE, context.color_primaries, context.color_trc)

    def tag(self, context: Any) -> None:  # noqa: ANN401
        """Name them in an encoder's context."""
        context.colorspace, context.color_range = self.matrix, self.range
        context.color_primaries, context.color_trc = self.primaries, self.transfer

    def to_rgb(self, frame: Any) -> np.ndarray:  # noqa: ANN401
        """A frame as uint8 RGB [H, W, 3]."""
        rgb = frame.reformat(
            format="rgb24",
            interpolation="BICUBIC",
            src_colorspace=SWSCALE_MATRIX[self.matrix],
            src_color_range=self.range,
            dst_color_range=FULL_RANGE,
        )
        return rgb.to_ndarray()

    def from_rgb(self, av: Any, picture: np.ndarray, pixel_format: str) -> Any:  # noqa: ANN401
        """Uint8 RGB [H, W, 3] as a frame."""
        rgb = av.VideoFrame.from_ndarray(picture, format="rgb24")
        return rgb.reformat(
            format=pixel_format,
            interpolation="BICUBIC",
            src_color_range=FULL_RANGE,
            dst_colorspace=SWSCALE_MATRIX[self.matrix],
            dst_color_range=self.range,
        )
