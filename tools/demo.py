"""``make demo``: the bundled x2 checkpoint, a real photo, no GPU; graphs, their drift, and a picture to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console

from defian_edge.calibration.photos import bundled_photos
from defian_edge.export.command import run_and_show
from defian_edge.export.engine.compiler import Target
from defian_edge.export.engine.memory_plan import can_measure_memory
from defian_edge.export.options import ExportOptions
from defian_edge.runtime.arguments import path_of
from defian_edge.runtime.images import downscale, read_image, write_png
from defian_edge.runtime.session import open_session
from tools.study import message

MODEL = "defian-s-x2"
PHOTO = "astronaut.png"
CROP = (slice(10, 138), slice(160, 288))
"""HR rows and columns of the detail that the picture shows."""
ZOOM = 3


def main() -> None:
    """Run the demonstration; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    out = path_of("--out")
    parser.add_argument("--out", type=out, default=Path("build/demo"), help="folder for everything it makes")
    with message():
        demonstrate(parser.parse_args().out)


def demonstrate(out: Path) -> None:
    """Export all precisions, upscale the photo with the INT8 graph, and draw the comparison."""
    engines = can_measure_memory()
    options = ExportOptions(
        out=out,
        target=Target.TENSORRT_RTX if engines else Target.ONNX,
        sm=89 if engines else None,
        max_drift=0.25,
        command="make demo",
    )
    run_and_show(MODEL, options)
    console = Console()
    if not engines:
        console.print("tensorrt-rtx is not installed: no engines were built (pip install 'defian-edge[rtx]').")
    lr, hr = downscale(read_image(bundled_photos((PHOTO,))[0]), 2)
    with open_session(out / f"{MODEL}.int8.onnx") as session:
        upscaled = session(lr[None])[0]
    write_png(out / "astronaut-x2.png", upscaled)
    write_png(out / "comparison.png", comparison(lr, upscaled, hr))
    console.print(f"wrote {out / 'astronaut-x2.png'}\nwrote {out / 'comparison.png'}", soft_wrap=True)


def comparison(lr: np.ndarray, upscaled: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """Bicubic, the network and the original side by side, one detail enlarged without smoothing."""
    bicubic = np.asarray(Image.fromarray(lr).resize(hr.shape[1::-1], Image.Resampling.BICUBIC))
    panels = []
    for label, image in (("bicubic x2", bicubic), ("DeFiAN-S x2 INT8", upscaled), ("original", hr)):
        detail = Image.fromarray(np.ascontiguousarray(image[CROP]))
        enlarged = detail.resize((detail.width * ZOOM, detail.height * ZOOM), Image.Resampling.NEAREST)
        panel = Image.new("RGB", (enlarged.width, enlarged.height + 24), "white")
        panel.paste(enlarged, (0, 24))
        ImageDraw.Draw(panel).text((6, 6), label, fill="black")
        panels.append(np.asarray(panel))
    return np.hstack(panels)


if __name__ == "__main__":
    main()
