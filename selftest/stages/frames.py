"""A stream of frames through an engine: throughput, what copying hides behind computing, and how a start is cured."""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.plugin.binary import CACHE_VARIABLE
from defian_edge.selftest.building import engine_for_frames
from defian_edge.selftest.protocol import CannotRun

if TYPE_CHECKING:
    from pathlib import Path

    from defian_edge.selftest.protocol import Record, Settings

FRAMES = 100
RUNS = 30
SHAPE = (540, 960)
SIZES = ((180, 320), SHAPE)
"""What is computed with and without a CUDA graph."""


def run(settings: Settings, record: Record) -> None:
    """With an engine that a stage before this one has built."""
    path = engine_for_frames(settings)
    if path is None:
        raise CannotRun("No stage before this one built an engine that runs here.")
    _starts(path, record)
    measure(path, record)


def measure(path: Path, record: Record) -> None:
    """One frame after the other, then a stream; the stream must give the same pictures."""
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 256, (*SHAPE, 3), dtype=np.uint8) for _ in range(4)]
    with EngineSession(path) as session:
        single = [session(frame[None])[0] for frame in frames]
        streamed = list(session.upscale_frames(frames))
        wrong = sum(not np.array_equal(one, other) for one, other in zip(single, streamed, strict=True))
        record.check("streamed frames that differ", wrong, at_most=0)
        parts = []
        begun = time.perf_counter()
        for turn in range(FRAMES):
            session(frames[turn % 4][None])
            parts.append(session.timings())
        alone = (time.perf_counter() - begun) / FRAMES
        medians = {name: float(np.median([each[name] for each in parts])) for name in parts[0]}
        stream = session.upscale_frames(frames[turn % 4] for turn in range(FRAMES + 5))
        for _ in range(5):
            next(stream)
        begun = time.perf_counter()
        count = sum(1 for _ in stream)
        together = (time.perf_counter() - begun) / count
    record.figure(
        "frames",
        {
            "shape": "x".join(map(str, SHAPE)),
            "seconds_alone": alone,
            "seconds_streamed": together,
            "frames_per_second": 1.0 / together,
            "parts": medians,
            "streamed_over_compute": together / medians["compute"],
        },
    )
    graphs = {}
    for captured in (True, False):
        with EngineSession(path, EngineBackend(cuda_graphs=captured)) as session:
            for height, width in SIZES:
                frame = generator.integers(0, 256, (1, height, width, 3), dtype=np.uint8)
                first = session(frame)
                taken, wrong = [], 0
                for _ in range(RUNS):
                    wrong += not np.array_equal(session(frame), first)
                    taken.append(session.timings()["compute"])
                name = f"{'graph' if captured else 'eager'} {height}x{width}"
                graphs[name] = float(np.median(taken[5:]))
                record.check(f"{name}: pictures that differ from the first", wrong, at_most=0)
    record.figure("compute_seconds", graphs)


def _starts(path: Path, record: Record) -> None:
    """Seconds from opening to the first picture: without kernels of an earlier start, and with them."""
    frame = np.zeros((1, *SHAPE, 3), np.uint8)
    seconds = {}
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory() as empty:
        os.environ[CACHE_VARIABLE] = empty  # the stages before this one have filled the run's own
        try:
            for name, cached in (("without the kernel cache", False), ("filling it", True), ("with it", True)):
                begun = time.perf_counter()
                with EngineSession(path, EngineBackend(kernel_cache=cached)) as session:
                    session(frame)
                seconds[name] = time.perf_counter() - begun
        finally:
            os.environ.pop(CACHE_VARIABLE) if before is None else os.environ.update({CACHE_VARIABLE: before})
    record.figure("first_picture_seconds", seconds)
