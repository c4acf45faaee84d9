"""2000 frames of changing shapes: the pictures stay the same, and the device's memory stays flat."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.runtime.engine.session import EngineSession
from defian_edge.selftest.building import engine_for_frames
from defian_edge.selftest.gpu import open_gpu
from defian_edge.selftest.protocol import CannotRun

if TYPE_CHECKING:
    from defian_edge.selftest.protocol import Record, Settings

FRAMES = 2000
SHAPES = ((64, 64), (90, 160), (96, 128), (120, 90), (180, 320), (200, 64), (64, 333), (135, 240))
SETTLED = 200
SPARE_SECONDS = 5.0
LEAK = 8 << 20
"""Bytes that may come and go; keeping one picture of 64x64 LR in every call would be over ten times that."""


def run(settings: Settings, record: Record) -> None:
    """Shapes in a fixed random order; after the first frames memory may not grow."""
    ends = time.monotonic() + settings.seconds - SPARE_SECONDS
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 256, (1, *shape, 3), dtype=np.uint8) for shape in SHAPES]
    with ExitStack() as stack:
        gpu = stack.enter_context(open_gpu())
        session = _session(settings, stack, record)
        first = [session(frame) for frame in frames]
        least, start, wrong, done = gpu.free_bytes(), None, 0, 0
        for turn, choice in enumerate(generator.integers(0, len(frames), FRAMES)):
            if time.monotonic() > ends:
                record.note(f"Time ended after {turn} of {FRAMES} frames.")
                break
            wrong += not np.array_equal(session(frames[choice]), first[choice])
            done = turn + 1
            if turn == SETTLED:
                start = gpu.free_bytes()
            if turn % 50 == 0:
                least = min(least, gpu.free_bytes())
        if start is None:
            raise CannotRun(f"Time: only {done} frames were done, and memory counts from frame {SETTLED} on.")
        grown = start - gpu.free_bytes()
        record.figure("soak", {"frames": done, "grown_bytes": grown, "least_free_bytes": least})
        record.check("pictures that changed", wrong, at_most=0)
        record.check("growth of the device's memory in bytes", grown, at_most=LEAK)


def _session(settings: Settings, stack: ExitStack, record: Record) -> Any:  # noqa: ANN401 - either session
    path = engine_for_frames(settings)
    if path is None:
        raise CannotRun("No stage before this one built an engine that runs here.")
    record.note(f"engine {path.name}")
    return stack.enter_context(EngineSession(path))
