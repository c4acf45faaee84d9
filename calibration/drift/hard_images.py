"""Images that no photo resembles, on which low precision goes wrong first, and what they show of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.calibration.drift.report import fault_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from defian_edge.calibration.drift.evaluation import Evaluation

HEIGHT, WIDTH = 24, 30


def hard_images(height: int = HEIGHT, width: int = WIDTH) -> dict[str, np.ndarray]:
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
        "gradient": gradient(2, 4000),
    }


def gradient(height: int, width: int) -> np.ndarray:
    """uint8 RGB [height, width, 3] from black at the left to white at the right."""
    return np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, 3)).astype(np.uint8)


def faults_on_hard_images(
    evaluate: Callable[[np.ndarray], Evaluation], references: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
    """``image: fault`` for every hard image on which a guard fires: not finite, or black where the reference is not.

    Args:
        evaluate: uint8 RGB [H, W, 3] -> result.
        references: name of the hard image -> the reference's uint8 output.
    """
    found = []
    for name, image in hard_images().items():
        fault = fault_of(evaluate(image), references[name])
        if fault:
            found.append(f"{name}: {fault}")
    return tuple(found)
