"""TensorRT-RTX's own runtime settings: CUDA graphs by itself, and a file with the kernels it compiled here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..cache import keep, read_cached

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@dataclass(frozen=True)
class RtxOptions:
    """What TensorRT-RTX is told.

    Attributes:
        cache: file for the kernels that it compiles on the device; None for none. A file of another GPU or driver is
            not used, and replaced.
        graphs: let it capture CUDA graphs.
    """

    cache: Path | None
    graphs: bool


class RtxSettings:
    """The runtime config of one engine.

    Args:
        trt: the ``tensorrt_rtx`` module.
        engine: the deserialised engine.
        options: what to set.
    """

    def __init__(self, trt: ModuleType, engine: Any, options: RtxOptions) -> None:  # noqa: ANN401
        self._engine = engine
        self._path = options.cache
        self._config = engine.create_runtime_config()
        on, off = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE, trt.CudaGraphStrategy.DISABLED
        self._config.cuda_graph_strategy = on if options.graphs else off
        self._cache: Any = None
        self._loaded = b""
        if self._path is not None:
            self._cache = self._config.create_runtime_cache()
            blob = read_cached(self._path)
            if blob and self._cache.deserialize(blob):
                self._loaded = blob
            self._config.set_runtime_cache(self._cache)

    def create_context(self) -> Any:  # noqa: ANN401 - an IExecutionContext or None
        """An execution context with these settings."""
        return self._engine.create_execution_context(self._config)

    def keep_cache(self) -> None:
        """Write the kernels compiled so far, if there are new ones; a cache that cannot be written costs only time."""
        if self._cache is None or self._path is None:
            return
        serialised = self._cache.serialize()
        if serialised is None:
            return
        blob = bytes(serialised)
        if blob and blob != self._loaded:
            keep(self._path, blob)
