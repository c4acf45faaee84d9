"""An engine that is played by PyTorch, for cards on which no engine builder runs.

``played`` puts a module into the place of ``tensorrt`` whose engines are a function of PyTorch, queued on the stream
and between the buffers that the runtime names. Everything of the runtime around an engine is then at work on a real
driver: contexts, streams, events, copies, shape contexts, CUDA graphs, memory. Of TensorRT it proves nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from enum import Enum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch

from defian_edge.runtime.manifest import EngineFacts, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from defian_edge.runtime.profile import ShapeProfile

    Upscale = Callable[[torch.Tensor], torch.Tensor]
    """uint8 [N, 3, H, W] to uint8 [N, 3, sH, sW], on the GPU."""

VERSION = "10.0.0"
PLAN = b"played by PyTorch\n"
INPUT, OUTPUT = "image", "upscaled"


class Severity(Enum):
    """As TensorRT's, as far as the runtime reads them."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class Logger:
    """ILogger."""

    Severity = Severity

    def log(self, severity: Severity, msg: str) -> None:
        """What the runtime's own logger overrides."""
        raise NotImplementedError


class Context:
    """IExecutionContext: one call of the function between two addresses."""

    def __init__(self, upscale: Upscale, scale: int, logger: Logger) -> None:
        self._upscale, self._scale, self._logger = upscale, scale, logger
        self._shape: tuple[int, ...] = ()
        self._tensors: dict[str, torch.Tensor] = {}

    def set_device_memory(self, address: int, size: int) -> None:
        """PyTorch has memory of its own."""

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        """[N, H, W, 3]; every shape is taken, the manifest's profile limits it."""
        self._shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Of the input, or of the output that follows from it."""
        batch, height, width, channels = self._shape
        factor = 1 if name == INPUT else self._scale
        return batch, height * factor, width * factor, channels

    def set_tensor_address(self, name: str, address: int) -> bool:
        """The device's memory there, as a tensor."""
        memory = {"shape": self.get_tensor_shape(name), "typestr": "|u1", "data": (address, False), "version": 3}
        self._tensors[name] = torch.as_tensor(SimpleNamespace(__cuda_array_interface__=memory), device="cuda")
        return True

    def execute_async_v3(self, stream: int) -> bool:
        """Queue the function's kernels on the stream; what PyTorch refuses goes to the log, as TensorRT does it."""
        try:
            with torch.inference_mode(), torch.cuda.stream(torch.cuda.ExternalStream(stream)):
                upscaled = self._upscale(self._tensors[INPUT].permute(0, 3, 1, 2))
                self._tensors[OUTPUT].copy_(upscaled.permute(0, 2, 3, 1))
        except RuntimeError as error:
            self._logger.log(Severity.ERROR, f"PyTorch: {error}")
            return False
        return True


class Engine:
    """ICudaEngine."""

    num_io_tensors = 2
    device_memory_size_v2 = 0

    def __init__(self, upscale: Upscale, scale: int, logger: Logger) -> None:
        self._parts = (upscale, scale, logger)

    def get_tensor_name(self, index: int) -> str:
        """Input first."""
        return (INPUT, OUTPUT)[index]

    def get_tensor_mode(self, name: str) -> str:
        """As :class:`Module`'s TensorIOMode has it."""
        return "input" if name == INPUT else "output"

    def get_tensor_dtype(self, _name: str) -> str:
        """Both hold uint8."""
        return Module.uint8

    def create_execution_context(self, _strategy: object) -> Context:
        """One more; each has its own shape and addresses."""
        return Context(*self._parts)


class Module:
    """What the runtime asks of the module ``tensorrt``."""

    __name__ = "tensorrt"
    __version__ = VERSION
    uint8 = "uint8"
    ILogger = Logger
    TensorIOMode = SimpleNamespace(INPUT="input")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED=object())

    def __init__(self, upscale: Upscale, scale: int) -> None:
        self._upscale, self._scale = upscale, scale

    def Runtime(self, logger: Logger) -> Any:  # noqa: ANN401, N802 - TensorRT's name
        """IRuntime, which loads the one plan that there is."""

        def deserialize_cuda_engine(plan: bytes) -> Engine | None:
            return Engine(self._upscale, self._scale, logger) if plan == PLAN else None

        return SimpleNamespace(deserialize_cuda_engine=deserialize_cuda_engine)


@contextlib.contextmanager
def played(upscale: Upscale, scale: int) -> Iterator[None]:
    """``import tensorrt`` gives the player inside; the process should be one that never needs the real one."""
    with mock.patch.dict(sys.modules, {"tensorrt": Module(upscale, scale)}):  # pyright: ignore[reportArgumentType]
        yield


def write_played_engine(
    folder: Path, scale: int, profile: ShapeProfile, capability: str, command: str = "python -m selftest"
) -> Path:
    """A plan that only the player loads, and the manifest that fits it and a GPU of ``capability``, such as ``9.0``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "played.fp16.engine"
    path.write_bytes(PLAN)
    Manifest(
        path.name,
        hashlib.sha256(PLAN).hexdigest(),
        "played by PyTorch",
        scale,
        "fp16",
        "uint8",
        "0" * 64,
        command,
        profile=profile,
        engine=EngineFacts("tensorrt", VERSION, capability, 0, 0, len(PLAN), 0.0, 0),
    ).write(folder)
    return path
