"""Images that no photo resembles, on which low precision goes wrong first, and what they show of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from defian_edge.runtime.profile import ShapeProfile

SMALL: tuple[int, int] = (24, 30)
"""Height and width of all but the gradient."""
LONG: tuple[int, int] = (2, 4000)
"""Of the gradient."""
GRADIENT = "gradient"


@dataclass(frozen=True)
class HardPicture:
    """An image that no photo resembles, uint8 RGB [H, W, 3], and the reference's picture of it [sH, sW, 3]."""

    name: str
    lr: np.ndarray
    reference: np.ndarray


def hard_images(height: int = SMALL[0], width: int = SMALL[1]) -> dict[str, np.ndarray]:
    """Name -> uint8 RGB [H, W, 3]: black, white, Nyquist, one bright pixel, saturated noise, a 4000-pixel gradient."""
    rows, columns = np.indices((height, width))
    pixel = np.zeros((height, width, 3), np.uint8)
    pixel[height // 2, width // 2] = 255
    noise = np.random.default_rng(0).integers(0, 2, (height, width, 3)) * 255
    return {
        "black": np.zeros((height, width, 3), np.uint8),
        "white": np.full((height, width, 3), 255, np.uint8),
        "checkerboard": np.repeat(((rows + columns) % 2 * 255)[..., None], 3, 2).astype(np.uint8),
        "one bright pixel": pixel,
        "saturated noise": noise.astype(np.uint8),
        GRADIENT: gradient(*LONG),
    }


def gradient(height: int, width: int) -> np.ndarray:
    """uint8 RGB [height, width, 3] from black at the left to white at the right."""
    return np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, 3)).astype(np.uint8)


def hard_images_for(profile: ShapeProfile | None) -> dict[str, np.ndarray]:
    """The hard images in the nearest sizes that a profile takes; None for any."""
    if profile is None:
        return hard_images()
    small, long = (profile.nearest((1, *size))[1:] for size in (SMALL, LONG))
    return hard_images(*small) | {GRADIENT: gradient(*long)}


def hard_pictures(
    upscale: Callable[[np.ndarray], np.ndarray], profile: ShapeProfile | None = None
) -> tuple[HardPicture, ...]:
    """The hard images with what the reference makes of them.

    Args:
        upscale: the reference, uint8 RGB [H, W, 3] -> [sH, sW, 3].
        profile: the sizes that an engine takes, the nearest of which the images have; None for any.
    """
    images = hard_images_for(profile)
    return tuple(HardPicture(name, image, upscale(image)) for name, image in images.items())
