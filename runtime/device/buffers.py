"""Memory of one shape: pinned pages on the host and their counterparts on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

Shape4 = tuple[int, int, int, int]


class FrameBuffers:
    """Input and output, uint8, each pinned on the host and on the device. The context is current.

    Attributes:
        host_in: pinned array of the input's shape.
        host_out: pinned array of the output's shape.
        device_in: device memory for the input; ``int()`` gives its address.
        device_out: device memory for the output.

    Raises:
        pycuda.driver.MemoryError: there is too little memory; nothing stays allocated.
    """

    def __init__(self, cuda: Any, input_shape: Shape4, output_shape: Shape4) -> None:  # noqa: ANN401
        self.host_in: Any = None
        self.host_out: Any = None
        self.device_in: Any = None
        self.device_out: Any = None
        self._frees: list[Callable[[], None]] = []
        try:
            self.host_in = self._pinned(cuda, input_shape)
            self.host_out = self._pinned(cuda, output_shape)
            self.device_in = self._on_device(cuda, self.host_in.nbytes)
            self.device_out = self._on_device(cuda, self.host_out.nbytes)
        except BaseException:
            self.free()
            raise

    @property
    def device_bytes(self) -> int:
        """What the shape takes on the device."""
        return self.host_in.nbytes + self.host_out.nbytes

    def _pinned(self, cuda: Any, shape: Shape4) -> np.ndarray:  # noqa: ANN401
        array = cuda.pagelocked_empty(shape, np.uint8)
        self._frees.append(array.base.free)
        return array

    def _on_device(self, cuda: Any, size: int) -> Any:  # noqa: ANN401
        memory = cuda.mem_alloc(size)
        self._frees.append(memory.free)
        return memory

    def free(self) -> None:
        """Give everything back at once; again is harmless."""
        self.host_in = self.host_out = self.device_in = self.device_out = None
        while self._frees:
            self._frees.pop()()
