"""A shape context: one shape's buffers, the execution context bound to them, and the CUDA graph captured from it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device.buffers import FrameBuffers
from ..device.graph import CapturedGraph
from ..errors import DefianError

if TYPE_CHECKING:
    from ..device.streams import WorkStream
    from ..profile import Shape
    from .trt_engine import Execution, TrtEngine

LOGGER = logging.getLogger(__name__)

WARM_UP_RUNS = 2


class ShapeContext:
    """Everything one shape needs, so that the shape's next run allocates nothing. The context is current.

    Raises:
        DefianError: TensorRT refuses the shape.
        pycuda.driver.MemoryError: there is too little memory; nothing stays allocated.
    """

    def __init__(self, cuda: Any, engine: TrtEngine, shape: Shape, scale: int) -> None:  # noqa: ANN401
        batch, height, width = shape
        self.shape = shape
        self.graph: CapturedGraph | None = None
        self.runs = 0
        self._shares_context = engine.captures_itself
        self._execution: Execution | None = None
        self.buffers = FrameBuffers(cuda, (batch, height, width, 3), (batch, height * scale, width * scale, 3))
        try:
            self._execution = engine.context()
            self._execution.bind(self.buffers)
        except BaseException:
            self.free()
            raise

    def upload(self, images: np.ndarray, stream: WorkStream) -> None:
        """Copy uint8 [N, H, W, 3] to the pinned buffer and queue its way to the device."""
        np.copyto(self.buffers.host_in, images)
        stream.upload(self.buffers.device_in, self.buffers.host_in)

    def compute(self, stream: WorkStream) -> None:
        """Queue the network, as a CUDA graph if there is one."""
        if self.graph is not None:
            self.graph.launch()
        else:
            self._enqueue(stream)

    def _enqueue(self, stream: WorkStream) -> None:
        if self._execution is None:
            raise DefianError("This shape context has been freed.")
        if self._shares_context:
            self._execution.bind(self.buffers)
        self._execution.enqueue(stream.handle)

    def download(self, stream: WorkStream) -> None:
        """Queue the way of the result to the pinned buffer, which is valid once the stream has been waited for."""
        stream.download(self.buffers.host_out, self.buffers.device_out)

    def capture(self, stream: WorkStream) -> str:
        """Capture a graph and compare its result with the eager one, which the buffers still hold.

        Args:
            stream: the stream that the eager run was on; it is idle.

        Returns:
            Why there is no graph; empty if there is one.
        """
        expected = self.buffers.host_out.copy()
        try:
            self.graph = CapturedGraph(stream.handle, lambda: self._enqueue(stream))
            self.buffers.host_out.fill(0)
            stream.upload(self.buffers.device_out, self.buffers.host_out)
            self.graph.launch()
            self.download(stream)
            stream.synchronize()
        except DefianError as error:
            self._drop_graph()
            return error.message
        same = np.array_equal(expected, self.buffers.host_out)
        np.copyto(self.buffers.host_out, expected)
        if not same:
            self._drop_graph()
            return f"the captured graph gave another result than the eager run at {self.shape}"
        return ""

    def _drop_graph(self) -> None:
        if self.graph is not None:
            self.graph.free()
            self.graph = None

    def free(self) -> None:
        """Free graph, context and buffers; nothing of it is queued."""
        self._drop_graph()
        if self._execution is not None and not self._shares_context:
            self._execution.free()
        self._execution = None
        self.buffers.free()


class GraphPolicy:
    """When a shape context's work is captured, and why not.

    Args:
        wanted: whether the user wants CUDA graphs.
        engine: the engine, which may capture by itself.
    """

    def __init__(self, engine: TrtEngine, *, wanted: bool) -> None:
        self.captured = 0
        self.refusal = "" if wanted else "switched off"
        if engine.captures_itself:
            self.refusal = "TensorRT-RTX captures by itself" if wanted else self.refusal

    def after_run(self, shape_context: ShapeContext, stream: WorkStream) -> None:
        """Capture a shape context that has come back for the second time; its run is complete and its stream idle."""
        shape_context.runs += 1
        if self.refusal or shape_context.graph is not None or shape_context.runs < WARM_UP_RUNS:
            return
        self.refusal = shape_context.capture(stream)
        self.captured += not self.refusal
        LOGGER.info("CUDA graph of %s: %s", shape_context.shape, self.refusal or "captured")

    def describe(self) -> str:
        """Such as ``CUDA graphs on (2 captured)``; after a refusal why there are none, or no more than these."""
        if self.refusal and not self.captured:
            return f"CUDA graphs off: {self.refusal}"
        more = f", no further ones: {self.refusal}" if self.refusal else ""
        return f"CUDA graphs on ({self.captured} captured){more}"


class ShapeContextPool:
    """The shape contexts of the shapes used last. A new shape beyond the limit takes the place of the oldest."""

    def __init__(self, cuda: Any, engine: TrtEngine, scale: int, limit: int) -> None:  # noqa: ANN401
        self._cuda, self._engine, self._scale = cuda, engine, scale
        self._limit = limit
        self._shape_contexts: OrderedDict[Shape, ShapeContext] = OrderedDict()

    def get(self, shape: Shape) -> ShapeContext:
        """The shape context of a shape, made if need be; when memory is short all others are given up first.

        Raises:
            DefianError: TensorRT refuses the shape.
            pycuda.driver.MemoryError: there is too little memory even so.
        """
        if shape in self._shape_contexts:
            self._shape_contexts.move_to_end(shape)
            return self._shape_contexts[shape]
        while len(self._shape_contexts) >= self._limit:
            self._shape_contexts.popitem(last=False)[1].free()
        try:
            shape_context = ShapeContext(self._cuda, self._engine, shape, self._scale)
        except self._cuda.MemoryError:
            if not self._shape_contexts:
                raise
            LOGGER.info("no memory for another shape: %d that were kept are given up", len(self._shape_contexts))
            self.free()
            shape_context = ShapeContext(self._cuda, self._engine, shape, self._scale)
        self._shape_contexts[shape] = shape_context
        return shape_context

    def free(self) -> None:
        """Free every shape context; nothing of them is queued."""
        while self._shape_contexts:
            self._shape_contexts.popitem()[1].free()
