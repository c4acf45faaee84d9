"""The worst detail of a candidate: the same crop of original, reference and candidate, and their difference, as PNG."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from defian_edge.benchmark.measure.quality import Quality

SIDE = 128
"""Side of a crop in HR pixels."""
GREY = 128
MOST = 99
"""Per cent of the differences that stay inside 8 bits; a few stray ones must not keep all others from being seen."""


@dataclass(frozen=True)
class Detail:
    """Crops of one candidate's worst image, as data URIs.

    Attributes:
        candidate, image: whose detail it is.
        drift: of the whole image, dB.
        place: left and top of the crop in HR pixels.
        size: width and height of the crop.
        factor: how much the difference is amplified around mid-grey.
        differing, values, largest: how many of how many uint8 values in the crop differ, and by how much at most.
        pictures: label -> PNG.
    """

    candidate: str
    image: str
    drift: float
    place: tuple[int, int]
    size: tuple[int, int]
    factor: int
    differing: int
    values: int
    largest: int
    pictures: dict[str, str]


def detail_of(name: str, quality: Quality) -> Detail | None:
    """The crop of the worst image in which candidate and reference differ most; None if they do not differ."""
    worst = quality.worst
    difference = worst.candidate.astype(np.int16) - worst.reference
    if not difference.any():
        return None
    top, left = busiest(np.square(difference.astype(np.int64)).sum(axis=2), SIDE)
    window = (slice(top, top + SIDE), slice(left, left + SIDE))
    inside = difference[window]
    factor = amplification(np.abs(inside))
    amplified = np.clip(GREY + factor * inside, 0, 255).astype(np.uint8)
    pictures = {
        "original": worst.hr[window],
        "reference": worst.reference[window],
        "candidate": worst.candidate[window],
        f"difference x{factor}": amplified,
    }
    return Detail(
        name,
        worst.name,
        quality.report.worst.drift,
        (left, top),
        (inside.shape[1], inside.shape[0]),
        factor,
        int(np.count_nonzero(inside)),
        inside.size,
        int(np.abs(inside).max()),
        {label: data_uri(picture) for label, picture in pictures.items()},
    )


def busiest(values: np.ndarray, side: int) -> tuple[int, int]:
    """Top and left of the window of this side (less where the array [H, W] is smaller) with the largest sum."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1), np.int64)
    sums[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    height, width = (min(side, length) for length in values.shape)
    windows = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(windows.argmax()), windows.shape)
    return int(top), int(left)


def amplification(differences: np.ndarray) -> int:
    """The largest factor by which 99 % of the differences other than zero stay inside 8 bits around mid-grey."""
    largest = np.percentile(differences[differences > 0], MOST, method="inverted_cdf")
    return max((GREY - 1) // int(largest), 1)


def data_uri(picture: np.ndarray) -> str:
    """uint8 RGB [H, W, 3] as a PNG inside a URI."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
