"""Images that no photo resembles, on which low precision goes wrong first, and what they show of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.calibration.drift.report import fault_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from defian_edge.calibration.drift.evaluator import Evaluation

HEIGHT, WIDTH = 24, 30


def hard_images() -> dict[str, np.ndarray]:
    """Name -> uint8 RGB [H, W, 3]: black, white, Nyquist, one bright pixel, saturated noise, a 4000-pixel gradient."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    pixel = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixel[HEIGHT // 2, WIDTH // 2] = 255
    noise = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH, 3)) * 255
    gradient = np.linspace(0, 255, 4000)[None, :, None]
    return {
        "black": np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        "white": np.full((HEIGHT, WIDTH, 3), 255, np.uint8),
        "checkerboard": np.repeat(((rows + columns) % 2 * 255)[..., None], 3, 2).astype(np.uint8),
        "one bright pixel": pixel,
        "saturated noise": noise.astype(np.uint8),
        "gradient": np.broadcast_to(gradient, (2, 4000, 3)).astype(np.uint8),
    }


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
