"""What a session and its streams of frames share: the engine, the stream that computes, its graphs and its lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .lanes import Lane

if TYPE_CHECKING:
    from ..device.streams import WorkStream
    from ..guard import FrameGuard
    from ..manifest import Manifest
    from ..profile import Shape
    from .lanes import GraphPolicy, LanePool
    from .loaded import LoadedEngine


@dataclass(frozen=True)
class EngineCore:
    """One loaded engine at work. The session owns all of it, and frees it.

    Attributes:
        cuda: the ``pycuda.driver`` module.
        manifest: what the engine is.
        engine: on the device.
        stream: everything that is computed runs on it, in order.
        lanes: kept for single calls, by shape.
        graphs: decides what is captured.
        guard: counts suspicious frames.
    """

    cuda: Any
    manifest: Manifest
    engine: LoadedEngine
    stream: WorkStream
    lanes: LanePool
    graphs: GraphPolicy
    guard: FrameGuard

    def lane(self, shape: Shape) -> Lane:
        """A new lane, for a stream of frames; the context is current.

        When memory is short, the lanes that single calls keep are given up first.

        Raises:
            DefianError: TensorRT refuses the shape.
            pycuda.driver.MemoryError: there is too little memory even so.
        """
        try:
            return Lane(self.cuda, self.engine, shape, self.manifest.scale)
        except self.cuda.MemoryError:
            self.lanes.free()
            return Lane(self.cuda, self.engine, shape, self.manifest.scale)
