"""Images that no photo resembles, on which low precision goes wrong first, and what they show of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from calibration.drift import fault_of
from calibration.evaluator import session_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from calibration.evaluator import Evaluation

LARGEST_HALF = 65504.0
HEADROOM = 4.0
"""A tensor must stay this factor below FP16's largest value on everything that was tried."""
HEIGHT, WIDTH = 24, 30
_AT_ONCE = 200


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


def beyond_half(model: ir.Model, images: Iterable[np.ndarray]) -> frozenset[str]:
    """Names of the tensors of a FP32 graph whose magnitude comes within :data:`HEADROOM` of FP16's largest value.

    Args:
        model: FP32 graph with uint8 I/O; it is not changed. Functions are not looked into, they cast by themselves.
        images: uint8 RGB [H, W, 3]; photos, and :func:`hard_images`.
    """
    pictures = list(images)
    wide = {value.name for node in model.graph for value in node.outputs if value.dtype == ir.DataType.FLOAT}
    names = sorted(name for name in wide if name is not None)
    found: set[str] = set()
    for start in range(0, len(names), _AT_ONCE):
        chosen = names[start : start + _AT_ONCE]
        copy = ir.from_proto(ir.to_proto(model))
        values = {value.name: value for node in copy.graph for value in node.outputs}
        copy.graph.outputs.extend(values[name] for name in chosen)
        session = session_of(copy)
        for picture in pictures:
            results = session.run(chosen, {session.get_inputs()[0].name: picture[None]})
            for name, result in zip(chosen, results, strict=True):
                # NaN compares as False both ways, hence the negation.
                if not np.abs(np.asarray(result)).max(initial=0.0) <= LARGEST_HALF / HEADROOM:
                    found.add(name)
    return frozenset(found)
