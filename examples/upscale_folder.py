"""Upscale every PNG of a folder: python examples/upscale_folder.py ENGINE FOLDER OUT.

``python -m runtime`` does more: other formats and video, resuming, metadata. This is the least that a program needs.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import defian_edge as de


def main(engine: str, folder: str, out: str) -> int:
    """Upscale; an image that does not fit the engine goes in tiles."""
    Path(out).mkdir(parents=True, exist_ok=True)
    with de.TiledSession(de.open_session(engine), de.Tiling(192, 192, 16), always=False) as session:
        print(session.describe())
        for path in sorted(Path(folder).glob("*.png")):
            with Image.open(path) as image:
                lr = np.asarray(image.convert("RGB"))
            upscaled = session(lr[None])[0]
            Image.fromarray(upscaled).save(Path(out) / path.name)
            print(f"{path.name}: {upscaled.shape[1]}x{upscaled.shape[0]}")
        return 1 if session.guard.suspicious else 0  # black or white where the photo is not


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
