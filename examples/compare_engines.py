"""Two engines, or graphs, on one photo: python examples/compare_engines.py FIRST SECOND PHOTO.

They take turns, so that what else the machine does meets both. ``bench.py`` says when a difference is none.
"""

import sys
import time
from statistics import median

import numpy as np
from PIL import Image

import defian_edge as de

ROUNDS = 5


def main(first: str, second: str, photo: str) -> int:
    """Time both and compare their pictures."""
    with Image.open(photo) as image:
        images = np.asarray(image.convert("RGB"))[None]
    with de.open_session(first) as one, de.open_session(second) as other:
        seconds: dict[str, list[float]] = {first: [], second: []}
        pictures = {}
        for turn in range(ROUNDS + 1):
            for name, session in ((first, one), (second, other)):
                start = time.perf_counter()
                pictures[name] = session(images)
                if turn:  # the first warms up
                    seconds[name].append(time.perf_counter() - start)
        for name, session in ((first, one), (second, other)):
            print(f"{1e3 * median(seconds[name]):8.2f} ms  {session.describe()}")
            if parts := session.timings():
                print("            " + ", ".join(f"{part} {1e3 * spent:.2f} ms" for part, spent in parts.items()))
    difference = np.abs(pictures[first].astype(int) - pictures[second])
    print(f"ratio {median(seconds[second]) / median(seconds[first]):.2f}; pictures differ by {difference.max()} grey")
    print(f"levels at most, and are equal in {100 * np.mean(difference == 0):.1f} % of their values")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
