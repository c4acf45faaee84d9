"""CUDA graphs through cuda-bindings, on pycuda's streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import DefianError
from .bindings import cuda_bindings

if TYPE_CHECKING:
    from collections.abc import Callable


def import_bindings() -> Any:  # noqa: ANN401 - an optional package
    """cuda-bindings' driver module.

    Raises:
        MissingPackageError: it is not installed.
    """
    return cuda_bindings("Capturing CUDA graphs")


class CapturedGraph:
    """What ``enqueue`` puts on a stream, ready to be launched as one.

    Args:
        stream: handle of a CUDA stream that is not the default one.
        enqueue: queues the work; it must neither allocate nor synchronise.

    Raises:
        DefianError: cuda-bindings is missing, or the driver refuses the capture; the stream is as before.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None]) -> None:
        self._driver = import_bindings()
        self._stream = self._driver.CUstream(stream)
        graph = self._capture(enqueue)
        try:
            self._executable: Any = self._call("instantiating", "cuGraphInstantiate", graph, 0)
        finally:
            self._driver.cuGraphDestroy(graph)

    def _capture(self, enqueue: Callable[[], None]) -> Any:  # noqa: ANN401
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("beginning", "cuStreamBeginCapture", self._stream, mode)
        try:
            enqueue()
        except BaseException:
            status, graph = self._driver.cuStreamEndCapture(self._stream)
            if status == self._driver.CUresult.CUDA_SUCCESS:
                self._driver.cuGraphDestroy(graph)
            raise
        return self._call("ending", "cuStreamEndCapture", self._stream)

    def launch(self) -> None:
        """Queue the work once more on the stream it was captured from."""
        self._call("launching", "cuGraphLaunch", self._executable, self._stream)

    def free(self) -> None:
        """Destroy the graph; again is harmless."""
        if self._executable is not None:
            self._driver.cuGraphExecDestroy(self._executable)
            self._executable = None

    def _call(self, doing: str, function: str, *arguments: Any) -> Any:  # noqa: ANN401
        try:
            status, *values = getattr(self._driver, function)(*arguments)
        except RuntimeError as error:  # how cuda-bindings says that the driver has no such function
            raise DefianError(f"{doing} a CUDA graph failed: {error}") from error
        if status == self._driver.CUresult.CUDA_SUCCESS:
            return values[0] if values else None
        raise DefianError(f"{doing} a CUDA graph failed: {getattr(status, 'name', status)}")
