"""Streams and events that are given back when told to.

pycuda gives a stream back when its last reference goes. A traceback keeps references, and an exception is just when
a session closes, so here only one object ever holds pycuda's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class Mark:
    """A point in a stream's work.

    Attributes:
        event: pycuda's CUDA event, for use within one expression: a variable would keep it.
    """

    def __init__(self, cuda: Any) -> None:  # noqa: ANN401
        self.event: Any = cuda.Event()

    def record(self, stream: WorkStream) -> None:
        """Mark what the stream has been given so far."""
        self.event.record(stream.stream)

    def wait(self) -> None:
        """Block until the marked work is done."""
        self.event.synchronize()

    def hold(self, stream: WorkStream) -> None:
        """Let another stream's next work wait for the marked work."""
        stream.stream.wait_for_event(self.event)

    def seconds_since(self, earlier: Mark) -> float:
        """Time on the device between two marks whose work is done."""
        return self.event.time_since(earlier.event) / 1000

    def free(self) -> None:
        """Give the event back; again is harmless."""
        self.event = None


NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING. Any other stream waits for the default stream and is waited for by it: PyTorch's work there
would stand in line with ours, and fail while ours is being captured."""


class WorkStream:
    """A CUDA stream: work given to it is done in order, and later, whatever others do on the default stream.

    Attributes:
        stream: pycuda's, for use within one expression: a variable would keep it.
    """

    def __init__(self, cuda: Any) -> None:  # noqa: ANN401
        self._cuda = cuda
        self.stream: Any = cuda.Stream(NON_BLOCKING)

    @property
    def handle(self) -> int:
        """The CUstream as an integer."""
        return self.stream.handle

    def upload(self, device: Any, host: np.ndarray) -> None:  # noqa: ANN401
        """Queue a copy from a pinned array to device memory."""
        self._cuda.memcpy_htod_async(device, host, self.stream)

    def download(self, host: np.ndarray, device: Any) -> None:  # noqa: ANN401
        """Queue a copy from device memory to a pinned array, which is valid once the stream has been waited for."""
        self._cuda.memcpy_dtoh_async(host, device, self.stream)

    def synchronize(self) -> None:
        """Block until all work is done."""
        if self.stream is not None:
            self.stream.synchronize()

    def free(self) -> None:
        """Give the stream back; again is harmless."""
        self.stream = None
