"""The runtime on this driver where no engine runs: sessions, streams and CUDA graphs, PyTorch in an engine's place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.selftest.gpu import open_gpu
from defian_edge.selftest.pictures import MODELS, PROFILE, scale_of
from defian_edge.selftest.played_engine import played, write_played_engine
from defian_edge.selftest.protocol import CannotRun
from defian_edge.selftest.stages import frames, soak
from defian_edge.selftest.torch_network import fp16_upscaler

if TYPE_CHECKING:
    from defian_edge.selftest.protocol import Record, Settings
    from defian_edge.selftest.torch_network import Upscaler

MODEL = MODELS[0]
SHAPES = ((64, 64), (57, 86), (180, 320), (33, 500))
TURNS = 4
"""Calls of every shape: the third and later ones replay a CUDA graph."""


def run(settings: Settings, record: Record) -> None:
    """The session's pictures beside PyTorch's own, then a stream, then as many frames as there is time for."""
    ends = time.monotonic() + settings.seconds
    if not torch.cuda.is_available():
        raise CannotRun("This PyTorch finds no GPU.")
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True  # or pictures would differ
    with open_gpu() as gpu:
        capability = "{}.{}".format(*gpu.capability)
    network = fp16_upscaler(load_checkpoint(resolve_model(MODEL)))
    scale = scale_of(MODEL)
    path = write_played_engine(Path(settings.folder) / "played", scale, ShapeProfile.parse(PROFILE), capability)
    with played(network, scale):
        pictures(path, network, record)
        frames.measure(path, record)
        soak.measure(path, ends - time.monotonic(), record)


def pictures(path: Path, network: Upscaler, record: Record) -> None:
    """Eager, then replayed from a graph, all shapes in turn: every value must be the one that PyTorch gives alone."""
    generator = np.random.default_rng(0)
    wrong = 0
    with EngineSession(path) as session:
        for _ in range(TURNS):
            for height, width in SHAPES:
                image = generator.integers(0, 256, (1, height, width, 3), dtype=np.uint8)
                wrong += int(np.count_nonzero(session(image) != alone(network, image)))
        record.note(session.describe())
        record.check("values that PyTorch alone gives otherwise", wrong, at_most=0)
        record.check("CUDA graphs captured", session.graphs.captured, at_least=len(SHAPES))


def alone(network: Upscaler, images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] to uint8 [N, sH, sW, 3] by PyTorch, on its own stream."""
    with torch.inference_mode():
        values = network(torch.from_numpy(images).cuda().permute(0, 3, 1, 2))
        return values.permute(0, 2, 3, 1).contiguous().cpu().numpy()
