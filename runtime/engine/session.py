"""A session on a TensorRT or TensorRT-RTX engine."""

from __future__ import annotations

import sys
import time
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..backends import EngineBackend
from ..cache import cache_folder
from ..device.context import DeviceContext, driver_errors
from ..device.streams import Mark, WorkStream
from ..guard import FrameGuard
from ..interface import check_images, require_uint8_io
from ..manifest import read_manifest
from ..plugin import provide
from ..plugin.device import load_kernels
from .core import EngineCore
from .pipeline import FramePipeline
from .preflight import (
    engine_facts,
    read_plan,
    require_device,
    require_memory,
    require_shape,
    require_version,
)
from .rtx import RtxOptions
from .shape_context import GraphPolicy, ShapeContextPool
from .trt_engine import TrtEngine
from .trt_import import RuntimeLog, import_flavour

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path
    from types import TracebackType

    import numpy as np

    from ..profile import Shape, ShapeProfile
    from .shape_context import ShapeContext


class EngineSession:
    """An engine, ready to upscale batches; for one thread.

    Args:
        path: the engine; its manifest lies beside it.
        backend: how to run it.
        shape: a (batch, height, width) that will be asked for, checked before the engine is loaded.

    Attributes:
        manifest: what the engine is.
        guard: counts suspicious frames.
        stream: everything the session computes runs on it, in order.
        graphs: decides what is captured.

    Raises:
        DefianError: the engine does not fit its manifest, this TensorRT or this GPU; nothing stays allocated.
    """

    def __init__(self, path: Path, backend: EngineBackend | None = None, shape: Shape | None = None) -> None:
        self.backend = backend or EngineBackend()
        self.manifest = read_manifest(path)
        self.guard = FrameGuard()
        self._timings: dict[str, float] = {}
        require_uint8_io(self.manifest)
        self._trt: Any = import_flavour(engine_facts(self.manifest).flavour, self.manifest.command)
        require_version(self.manifest, self._trt.__version__)
        if shape is not None:
            require_shape(self.manifest, shape)
        self._device = DeviceContext(self.backend.device)
        self._resources = ExitStack()
        self._pipelines: list[FramePipeline] = []
        self._idle: FramePipeline | None = None
        try:
            require_device(self.manifest, self._device.name, self._device.capability)
            with self._device.current(), driver_errors(self._device.cuda, f"loading {path.name}"):
                require_memory(self.manifest, *self._device.memory())
                provide(self._trt, self.manifest.plugins, self.manifest.command, self.manifest.built_by)
                if self.manifest.plugins:
                    load_kernels()  # what is missing is told here; TensorRT would meet it in the middle of a run
                self._load(path)
        except BaseException:
            self.close()
            raise

    def _load(self, path: Path) -> None:
        cuda, rtx = self._device.cuda, None
        if engine_facts(self.manifest).flavour == "tensorrt-rtx":
            folder = cache_folder() if self.backend.kernel_cache else None
            kernels = None if folder is None else folder / "tensorrt-rtx" / f"{self.manifest.sha256[:16]}.cache"
            rtx = RtxOptions(kernels, self.backend.cuda_graphs)
        log = RuntimeLog(self._trt)
        self.stream = WorkStream(cuda)
        self._resources.callback(self.stream.free)
        self._marks: list[Mark] = []
        for _ in range(4):
            self._marks.append(Mark(cuda))
            self._resources.callback(self._marks[-1].free)
        engine = TrtEngine(self._trt, log, read_plan(path), self.manifest, cuda, rtx)
        self._resources.callback(engine.close)
        self._shape_contexts = ShapeContextPool(cuda, engine, self.manifest.scale, self.backend.shapes)
        self._resources.callback(self._shape_contexts.free)
        self.graphs = GraphPolicy(engine, wanted=self.backend.cuda_graphs)
        self._core = EngineCore(cuda, self.manifest, engine, self.stream, self._shape_contexts, self.graphs, self.guard)

    @property
    def profile(self) -> ShapeProfile | None:
        """The shapes that the engine accepts."""
        return self.manifest.profile

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Upscale uint8 RGB [N, H, W, 3] to uint8 RGB [N, sH, sW, 3]; returns when the result is complete.

        Raises:
            DefianError: another type, a shape outside the profile, another thread, or a failure of the device.
        """
        shape = self._require_fit(images)
        with self._device.current(), driver_errors(self._device.cuda, f"upscaling {'x'.join(map(str, shape))}"):
            shape_context = self._shape_context_of(shape)
            try:
                upscaled = self._run(shape_context, images)
            except BaseException:
                self.stream.synchronize()  # nothing may be under way when buffers are reused or freed
                raise
        self.guard.see(images, upscaled)
        return upscaled

    def probe(self, images: np.ndarray) -> np.ndarray:
        """As a call, but eagerly, in memory of its own, and without a trace in guard, timings and what is kept.

        Raises:
            DefianError: as a call.
        """
        shape = self._require_fit(images)
        with self._device.current(), driver_errors(self._device.cuda, f"upscaling {'x'.join(map(str, shape))}"):
            shape_context = self._core.shape_context(shape)
            try:
                try:
                    shape_context.upload(images, self.stream)
                    shape_context.compute(self.stream)
                    shape_context.download(self.stream)
                finally:
                    self.stream.synchronize()  # nothing may be under way when the buffers are freed
                return shape_context.buffers.host_out.copy()
            finally:
                shape_context.free()

    def device_identity(self) -> dict[str, str]:
        """What a result depends on beside the engine: GPU, drivers and TensorRT."""
        return self._device.identity() | {"tensorrt": f"{self._trt.__name__} {self._trt.__version__}"}

    def _require_fit(self, images: np.ndarray) -> Shape:
        self._device.require_thread()
        check_images(images)
        shape = (images.shape[0], images.shape[1], images.shape[2])
        require_shape(self.manifest, shape)
        return shape

    def _shape_context_of(self, shape: Shape) -> ShapeContext:
        try:
            return self._shape_contexts.get(shape)
        except self._device.cuda.MemoryError:
            if self._idle is None:
                raise
            self._drop_idle()
            return self._shape_contexts.get(shape)

    def _run(self, shape_context: ShapeContext, images: np.ndarray) -> np.ndarray:
        start, uploaded, computed, downloaded = self._marks
        start.record(self.stream)
        shape_context.upload(images, self.stream)
        uploaded.record(self.stream)
        begun = time.perf_counter()
        shape_context.compute(self.stream)
        enqueue = time.perf_counter() - begun
        computed.record(self.stream)
        shape_context.download(self.stream)
        downloaded.record(self.stream)
        self.stream.synchronize()
        upscaled = shape_context.buffers.host_out.copy()
        self._timings = {
            "enqueue": enqueue,
            "h2d": uploaded.seconds_since(start),
            "compute": computed.seconds_since(uploaded),
            "d2h": downloaded.seconds_since(computed),
        }
        self.graphs.after_run(shape_context, self.stream)
        return upscaled

    tiling: None = None
    """An image goes in one piece."""
    cut: int = 0

    def timings(self) -> dict[str, float]:
        """Seconds of the last call's parts; empty before the first.

        ``h2d``, ``compute`` and ``d2h`` are the device's own, between events: copy in, network, copy out. ``enqueue``
        is the host's, for handing the network to the stream. Frames of ``upscale_frames`` overlap and are not timed.
        """
        return dict(self._timings)

    def upscale_frames(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Upscale frames, uint8 RGB [H, W, 3], in their order, copying and computing at once.

        At most ``backend.in_flight`` frames are under way; the next frame is taken when a result is asked for.
        Frames may change their shape. A bad frame, or an exception from ``frames``, comes after the results of the
        frames before it, and frees what the stream held. At the end of ``frames``, or when the generator is closed, the
        memory stays for the next stream of the same shape, until the session is closed or memory is short.

        Raises:
            DefianError: as ``__call__``; after a failure of the device the frames under way are lost.
        """
        self._device.require_thread()
        pipeline = self._idle or FramePipeline(self._core, self._device, self.backend.in_flight)
        self._idle = None
        self._pipelines.append(pipeline)
        keep = False
        try:
            yield from pipeline.run(frames)
            keep = True
        except GeneratorExit:
            keep = True
            raise
        finally:
            self._retire(pipeline, keep=keep)

    def _retire(self, pipeline: FramePipeline, *, keep: bool) -> None:
        """End a stream; its ring is kept for the next one, or freed if one is kept already or something failed."""
        if pipeline not in self._pipelines:  # the session has been closed
            return
        with self._device.current(), driver_errors(self._device.cuda, "ending a stream of frames"), ExitStack() as last:
            self._pipelines.remove(pipeline)
            last.callback(pipeline.close)
            pipeline.settle()
            if keep and self._idle is None:
                last.pop_all()
                self._idle = pipeline

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.close()

    def describe(self) -> str:
        """One line: model, precision, TensorRT, GPU, CUDA graphs."""
        facts = engine_facts(self.manifest)
        return (
            f"{self.manifest.model} x{self.manifest.scale} {self.manifest.precision}, {facts.flavour} "
            f"{self._trt.__version__} on {self._device.name}, {self.graphs.describe()}"
        )

    def close(self) -> None:
        """Wait for what is under way and free everything, even if the device has failed; again is harmless.

        Raises:
            DefianError: called from another thread, or the device has failed.
        """
        if self._device.is_closed:
            return
        self._device.require_thread()
        pipelines, self._pipelines = self._pipelines, []
        with ExitStack() as last:
            last.callback(self._device.close)
            with driver_errors(self._device.cuda, "closing"), self._device.current(), ExitStack() as steps:
                steps.callback(self._resources.close)
                steps.callback(self._drop_idle)
                for pipeline in pipelines:
                    steps.callback(pipeline.close)

    def __del__(self) -> None:
        """Free what a session held that was dropped without being closed, as far as this thread may."""
        device = getattr(self, "_device", None)
        if device is not None and device.is_mine and not device.is_closed and not sys.is_finalizing():
            warnings.warn(f"{self.manifest.file}: this session was never closed", ResourceWarning, stacklevel=2)
            self.close()

    def __enter__(self) -> EngineSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
