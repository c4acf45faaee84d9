"""Engines for the tests on the stand-in: the tiny graph as a plan, with the manifest that fits it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime

from defian_edge.runtime.manifest import EngineFacts, Manifest
from defian_edge.runtime.profile import ShapeProfile

GRAPH = Path(os.environ.get("DEFIAN_GRAPH", ""))
FACTS = EngineFacts("tensorrt", "10.3.0", "8.9", 1 << 20, 1 << 20, 1 << 20, 1.0, 10)
PROFILE = ShapeProfile.parse("1x4x4,1x16x16,2x64x64")
COMMAND = "python export.py --model tiny --target tensorrt-rtx --sm 75 --profile 1x4x4,1x16x16,2x64x64"


def write_engine(folder: Path, plan: bytes | None = None, **changes: object) -> Path:
    """An engine and its manifest, whose facts or fields may be changed."""
    content = GRAPH.read_bytes() if plan is None else plan
    folder.mkdir(exist_ok=True)
    path = folder / "tiny.fp32.engine"
    path.write_bytes(content)
    facts = {name: changes.pop(name) for name in list(changes) if name in EngineFacts.__dataclass_fields__}
    manifest = Manifest(
        file=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        model="tiny",
        scale=2,
        precision="fp32",
        io="uint8",
        checkpoint_sha256="0" * 64,
        command=COMMAND,
        profile=PROFILE,
        engine=replace(FACTS, **facts),  # pyright: ignore[reportArgumentType]
    )
    replace(manifest, **changes).write(folder)  # pyright: ignore[reportArgumentType]
    return path


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def frames(count: int, height: int = 8, width: int = 9) -> list[np.ndarray]:
    """Frames of noise, each its own."""
    return [noise(height, width, 3, seed=seed) for seed in range(count)]


class Reference:
    """The graph itself, run by ONNX Runtime with one thread, as the double runs it."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(GRAPH), options, providers=["CPUExecutionProvider"])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] to uint8 [N, 2H, 2W, 3]."""
        return np.asarray(self.session.run(None, {self.session.get_inputs()[0].name: images})[0])
