"""What a session and its streams of frames share: the engine, the stream that computes, graphs and shape contexts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .shape_context import ShapeContext

if TYPE_CHECKING:
    from ..device.streams import WorkStream
    from ..guard import FrameGuard
    from ..manifest import Manifest
    from ..profile import Shape
    from .shape_context import GraphPolicy, ShapeContextPool
    from .trt_engine import TrtEngine

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineCore:
    """One loaded engine at work. The session owns all of it, and frees it.

    Attributes:
        cuda: the ``pycuda.driver`` module.
        manifest: what the engine is.
        engine: on the device.
        stream: everything that is computed runs on it, in order.
        shape_contexts: kept for single calls, by shape.
        graphs: decides what is captured.
        guard: counts suspicious frames.
    """

    cuda: Any
    manifest: Manifest
    engine: TrtEngine
    stream: WorkStream
    shape_contexts: ShapeContextPool
    graphs: GraphPolicy
    guard: FrameGuard

    def shape_context(self, shape: Shape) -> ShapeContext:
        """A new shape context, for a stream of frames; the context is current.

        When memory is short, the shape contexts that single calls keep are given up first.

        Raises:
            DefianError: TensorRT refuses the shape.
            pycuda.driver.MemoryError: there is too little memory even so.
        """
        try:
            return ShapeContext(self.cuda, self.engine, shape, self.manifest.scale)
        except self.cuda.MemoryError:
            LOGGER.info("no memory for a stream of frames: what single calls kept is given up")
            self.shape_contexts.free()
            return ShapeContext(self.cuda, self.engine, shape, self.manifest.scale)
