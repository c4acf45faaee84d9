"""HDR's static metadata: read from a film's first frame, given to the encoders that write it.

PyAV gives a frame's side data as bytes and takes none for an encoder; so it is written as the encoder's parameters.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MASTERING, LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"
_MASTERING_BYTES, _RATIONALS = 88, 10
"""FFmpeg's AVMasteringDisplayMetadata: red, green, blue and white, each x and y, the least and the greatest luminance,
all as two int32; then whether colours and luminances are there."""
CHROMA_UNIT, LIGHT_UNIT = 50_000, 10_000
"""Units of SMPTE ST 2086 in a bit stream: 0.00002 of the CIE plane, 0.0001 cd/m2."""
NAMES = {
    MASTERING: "the mastering display",
    LIGHT: "the content light level",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DOVI_METADATA": "Dolby Vision",
    "AMBIENT_VIEWING_ENVIRONMENT": "the ambient viewing environment",
    "A53_CC": "closed captions in the pictures",
    "S12M_TIMECODE": "time codes in the pictures",
}
"""Side data of frames that say something of the picture to whoever sees it."""


@dataclass(frozen=True)
class Hdr:
    """What a film says of its light.

    Attributes:
        primaries: x and y of red, green, blue and white in the CIE plane; empty if it does not say.
        luminance: of the display on which it was made, least and greatest, cd/m2; empty if it does not say.
        light: the brightest pixel and the brightest mean of a picture, cd/m2; empty if it does not say.
    """

    primaries: tuple[Fraction, ...] = ()
    luminance: tuple[Fraction, ...] = ()
    light: tuple[int, ...] = ()

    @classmethod
    def of(cls, side_data: Mapping[str, bytes]) -> Hdr:
        """From the side data of a frame, by FFmpeg's names; what is cut short or makes no sense says nothing."""
        primaries: tuple[Fraction, ...] = ()
        luminance: tuple[Fraction, ...] = ()
        light: tuple[int, ...] = ()
        mastering = side_data.get(MASTERING, b"")
        if len(mastering) >= _MASTERING_BYTES:
            numbers = struct.unpack_from("=22i", mastering)
            pairs = list(zip(numbers[0:20:2], numbers[1:20:2], strict=True))
            if all(over >= 0 and under > 0 for over, under in pairs):
                values = tuple(Fraction(over, under) for over, under in pairs)
                has_primaries, has_luminance = numbers[20:22]
                primaries = values[:8] if has_primaries and max(values[:8]) <= 1 else ()
                luminance = values[8:] if has_luminance and values[8] <= values[9] else ()
        if len(side_data.get(LIGHT, b"")) >= 2 * struct.calcsize("=I"):
            brightest, mean = struct.unpack_from("=2I", side_data[LIGHT])
            light = (brightest, mean) if 0 < max(brightest, mean) < 1 << 16 else ()
        return cls(primaries, luminance, light)

    def options(self, codec: str, options: Mapping[str, str]) -> dict[str, str]:
        """An encoder's options with this in them, as far as it takes it."""
        names = _PARAMETERS.get(codec)
        if names is None:
            return dict(options)
        option, mastering, light = names
        said = [options[option]] if option in options else []
        if self.primaries and self.luminance:
            said.append(f"{mastering}={self._mastering(whole=codec != 'libsvtav1')}")
        if self.light:
            said.append(f"{light}={self.light[0]},{self.light[1]}")
        return {**options, option: ":".join(said)} if said else dict(options)

    def kept(self, codec: str) -> set[str]:
        """Names of the side data that an encoder writes."""
        if codec not in _PARAMETERS:
            return set()
        both = ((MASTERING, self.primaries and self.luminance), (LIGHT, self.light))
        return {name for name, said in both if said}

    def _mastering(self, *, whole: bool) -> str:
        """``G(x,y)B(x,y)R(x,y)WP(x,y)L(greatest,least)``, in the bit stream's units or in plain numbers."""

        def written(value: Fraction, unit: int) -> str:
            return str(round(value * unit)) if whole else f"{float(value):.5f}"

        red, green, blue, white = (
            ",".join(written(each, CHROMA_UNIT) for each in self.primaries[place : place + 2]) for place in (0, 2, 4, 6)
        )
        least, greatest = (written(each, LIGHT_UNIT) for each in self.luminance)
        return f"G({green})B({blue})R({red})WP({white})L({greatest},{least})"


_PARAMETERS = {
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
}
"""Encoder -> its option for parameters, and its names in there."""


def left_out(seen: Iterable[str], kept: Iterable[str]) -> list[str]:
    """In words, which side data of the frames the result lacks."""
    return list(dict.fromkeys(NAMES[name] for name in sorted(set(seen) - set(kept)) if name in NAMES))
