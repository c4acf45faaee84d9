"""Frames through an engine: while one is computed, the next is on its way in and the last on its way out."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..device.context import driver_errors
from ..device.streams import Mark, WorkStream
from ..errors import DefianError
from ..interface import check_frame
from .preflight import require_shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from ..device.context import DeviceContext
    from .core import EngineCore
    from .shape_context import ShapeContext

UPLOADED, COMPUTED, DONE = range(3)


class Slot:
    """A shape context in the ring and the marks of its frame."""

    def __init__(self, shape_context: ShapeContext, cuda: Any) -> None:  # noqa: ANN401
        self.shape_context = shape_context
        self.marks: list[Mark] = []
        try:
            for _ in range(3):
                self.marks.append(Mark(cuda))
        except BaseException:
            self.free()
            raise

    def free(self) -> None:
        """Free the shape context and the marks; nothing of it is under way."""
        while self.marks:
            self.marks.pop().free()
        self.shape_context.free()


class FramePipeline:
    """A ring of shape contexts with a stream for copies in and one for copies out; the session's stream computes.

    The ring stays after a run, so that the next run of the same shape allocates nothing.

    Args:
        core: the engine that computes, and its stream.
        device: its context, which is current only inside the steps, never while the caller has the turn.
        in_flight: shape contexts in the ring, at least 1.
    """

    def __init__(self, core: EngineCore, device: DeviceContext, in_flight: int) -> None:
        self._core = core
        self._device = device
        self._limit = in_flight
        self._free: list[Slot] = []
        self._flying: deque[Slot] = deque()
        self._streams: list[WorkStream] = []
        self._shape: tuple[int, int, int] | None = None
        self._closed = False

    def run(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The upscaled frames, in order; see ``EngineSession.upscale_frames``."""
        source, failure = iter(frames), None
        while failure is None:
            try:
                frame = next(source)
                shape = check_frame(frame)
                require_shape(self._core.manifest, shape)
            except StopIteration:
                break
            except Exception as error:  # what is under way is given out first
                failure = error
                break
            while self._flying and (shape != self._shape or len(self._flying) >= self._limit):
                yield self._land()
            self._launch(frame, shape)
        while self._flying:
            yield self._land()
        if failure is not None:
            raise failure

    def _launch(self, frame: np.ndarray, shape: tuple[int, int, int]) -> None:
        """Queue a frame's way in, its computation and its way out."""
        cuda = self._require_open().cuda
        with self._device.current(), driver_errors(cuda, f"upscaling {'x'.join(map(str, shape))}"):
            while len(self._streams) < 2:
                self._streams.append(WorkStream(cuda))
            if shape != self._shape:
                self._free_slots()
                self._shape = shape
            slot = self._free.pop() if self._free else Slot(self._core.shape_context(shape), cuda)
            self._flying.append(slot)
            (upload, download), compute = self._streams, self._core.stream
            slot.shape_context.upload(frame[None], upload)
            slot.marks[UPLOADED].record(upload)
            slot.marks[UPLOADED].hold(compute)
            slot.shape_context.compute(compute)
            slot.marks[COMPUTED].record(compute)
            slot.marks[COMPUTED].hold(download)
            slot.shape_context.download(download)
            slot.marks[DONE].record(download)

    def _land(self) -> np.ndarray:
        """Wait for the oldest frame and take its result."""
        cuda = self._require_open().cuda
        with self._device.current(), driver_errors(cuda, "waiting for a frame"):
            slot = self._flying[0]
            slot.marks[DONE].wait()
            self._flying.popleft()
            self._free.append(slot)
            buffers = slot.shape_context.buffers
            upscaled = buffers.host_out[0].copy()
            # Not the caller's frame, which may hold the next picture by now.
            self._core.guard.see(buffers.host_in, buffers.host_out)
            if slot.shape_context.graph is None and not self._core.graphs.refusal:
                self._core.stream.synchronize()
                self._core.graphs.after_run(slot.shape_context, self._core.stream)
        return upscaled

    def _require_open(self) -> DeviceContext:
        if self._closed:
            raise DefianError("The session was closed while frames were under way.", "Keep it open until the last.")
        return self._device

    def _free_slots(self) -> None:
        while self._free:
            self._free.pop().free()

    def settle(self) -> None:
        """Wait for what is under way and drop its results; the ring stays. The context is current."""
        for stream in (*self._streams, self._core.stream):
            stream.synchronize()
        self._free.extend(self._flying)
        self._flying.clear()

    def close(self) -> None:
        """Wait for what is under way and free the ring, even if waiting fails; again is harmless.

        The context is current.
        """
        if self._closed:
            return
        self._closed = True
        with ExitStack() as steps:  # which are taken from the last to the first
            for stream in self._streams:
                steps.callback(stream.free)
            for slot in (*self._free, *self._flying):
                steps.callback(slot.free)
            for stream in (*self._streams, self._core.stream):
                steps.callback(stream.synchronize)
            self._streams, self._free = [], []
            self._flying.clear()
