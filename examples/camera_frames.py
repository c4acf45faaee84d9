"""Frames of a camera or a generator, upscaled as they come: python examples/camera_frames.py ENGINE [CAMERA].

With the number of a camera it needs OpenCV; without one a moving pattern stands in for it.
"""

import sys
import time
from collections.abc import Iterator

import numpy as np

import defian_edge as de

FRAMES = 8


def pattern(height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """uint8 RGB [H, W, 3]: stripes that move by a pixel a frame."""
    stripes = np.indices((height, width)).sum(axis=0)
    for shift in range(FRAMES):
        yield np.repeat((8 * (stripes + shift) % 256).astype(np.uint8)[..., None], 3, axis=2)


def camera(number: int) -> Iterator[np.ndarray]:
    """The same of a camera, until it ends."""
    import cv2  # pyright: ignore[reportMissingImports]

    source = cv2.VideoCapture(number)
    try:
        while (read := source.read())[0]:
            yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
    finally:
        source.release()


def main(engine: str, number: str | None = None) -> int:
    """Upscale; an engine copies one frame in and one out while it computes a third."""
    frames = pattern() if number is None else camera(int(number))
    with de.open_session(engine) as session:
        start, count = time.monotonic(), 0
        for upscaled in session.upscale_frames(frames):
            count += 1
            print(f"frame {count}: {upscaled.shape[1]}x{upscaled.shape[0]}")  # show it, encode it, send it
        print(f"{count / (time.monotonic() - start):.1f} frames a second")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
