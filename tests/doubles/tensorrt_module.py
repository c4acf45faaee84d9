"""A ``tensorrt`` (or ``tensorrt_rtx``) module whose engines are ONNX graphs, computed by ONNX Runtime on host pointers.

It stands on the stand-in CUDA driver, where a device pointer is a host address. A run is a host function on the given
stream, so it happens in the stream's order and no sooner, and it is captured into graphs. ``test_trt_names.py`` proves
that the real modules have every name that the runtime asks of this one.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from tests.doubles.tensorrt_builder import HIGHEST, NAMES, Builder, Parser

if TYPE_CHECKING:
    from collections.abc import Callable

NEEDS_PLUGIN = b"with a plugin\n"
"""What a plan begins with that cannot be loaded before its plugin is registered."""
HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
SCALE = 2


class Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class ILogger:
    Severity = Severity

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class Strategy(Enum):
    STATIC = 0
    USER_MANAGED = 2


class Work:
    """Python functions that the driver runs in stream order; each is kept until it has run, or for good if captured."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(os.environ["DEFIAN_STAND_IN"])
        self.library.cuLaunchHostFunc.argtypes = [ctypes.c_void_p, HOST_FUNCTION, ctypes.c_void_p]
        self.library.cuStreamIsCapturing.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self.library.standin_is_device.argtypes = [ctypes.c_uint64, ctypes.c_size_t]
        self.numbers = itertools.count(1)
        self.waiting: dict[int, tuple[Callable[[], None], bool]] = {}
        self.errors: list[BaseException] = []
        self.entry = HOST_FUNCTION(self.run)

    def queue(self, stream: int, function: Callable[[], None]) -> bool:
        number = next(self.numbers)
        self.waiting[number] = (function, self.is_capturing(stream))
        return self.library.cuLaunchHostFunc(stream, self.entry, number) == 0

    def is_capturing(self, stream: int) -> bool:
        answer = ctypes.c_int()
        self.library.cuStreamIsCapturing(stream, ctypes.byref(answer))
        return answer.value != 0

    def run(self, number: int) -> None:
        function, captured = self.waiting.get(number, (None, False))
        assert function is not None
        if not captured:
            del self.waiting[number]
        try:
            function()
        except BaseException as error:
            self.errors.append(error)

    def array(self, address: int, shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape))
        assert self.library.standin_is_device(address, size), f"{address:#x} is not {size} bytes of device memory"
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).reshape(shape)


@dataclass
class Faults:
    """What shall go wrong.

    Enqueues from the nth on (0: none), results of replayed graphs, enqueues while a graph is captured, execution
    contexts, the blob of compiled kernels, replayed graphs that give the result of their first replay, builders and
    builds, and what ``spoil`` makes of every batch and its result.
    """

    refused_enqueue: int = 0
    spoiled_captures: bool = False
    refused_captures: bool = False
    refused_contexts: bool = False
    no_kernel_blob: bool = False
    stale_captures: bool = False
    refused_builder: bool = False
    refused_build: bool = False
    spoil: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


class Context:
    """IExecutionContext."""

    def __init__(self, engine: Engine, *, managed: bool) -> None:
        self.engine = engine
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.scratch: tuple[int, int] | None = (0, 0) if managed else None

    def __del__(self) -> None:
        self.engine.module.note_end()

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self.engine.device_memory_size_v2
        self.scratch = (address, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "image"
        if shape[1] > self.engine.largest:
            self.engine.module.say(f"setInputShape: {shape} does not satisfy any optimization profiles")
            return False
        self.shape = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch, height, width, channels = self.shape
        return self.shape if name == "image" else (batch, height * SCALE, width * SCALE, channels)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        module = self.engine.module
        module.enqueues += 1
        if module.faults.refused_enqueue and module.enqueues >= module.faults.refused_enqueue:
            module.say("IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (an illegal memory access)")
            return False
        if module.faults.refused_captures and module.work.is_capturing(stream):
            module.say(
                "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (operation not permitted in a capture)"
            )
            return False
        work, session, scratch = module.work, self.engine.session, self.scratch
        shape, target, addresses = self.shape, self.get_tensor_shape("upscaled"), dict(self.addresses)
        spoil = module.faults.spoiled_captures and work.is_capturing(stream)
        kept: list[np.ndarray] | None = [] if module.faults.stale_captures and work.is_capturing(stream) else None

        def compute() -> None:
            if scratch is not None:
                work.array(scratch[0], (scratch[1],))[:] = 0x77
            image = work.array(addresses["image"], shape).copy()
            result = np.asarray(session.run(None, {session.get_inputs()[0].name: image})[0])
            if module.faults.spoil is not None:
                result = module.faults.spoil(image, result.copy())
            if kept is not None:
                kept.append(result.copy())
                result = kept[0]
            work.array(addresses["upscaled"], target)[:] = result ^ 1 if spoil else result

        return work.queue(stream, compute)


class RuntimeCache:
    """IRuntimeCache: its blob says how often kernels have been compiled."""

    def __init__(self, faults: Faults) -> None:
        self.compiled = 0
        self.faults = faults

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b"compiled "):
            return False
        self.compiled = int(blob.split()[1])
        return True

    def serialize(self) -> bytes | None:
        return None if self.faults.no_kernel_blob else b"compiled %d" % self.compiled


@dataclass
class RuntimeConfig:
    """IRuntimeConfig."""

    faults: Faults
    cuda_graph_strategy: str = "DISABLED"
    cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache(self.faults)

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class Engine:
    """ICudaEngine with tensors ``image`` and ``upscaled``."""

    num_io_tensors = 2
    device_memory_size_v2 = 4096
    largest = 64

    def __init__(self, module: TensorRt, plan: bytes) -> None:
        self.module = module
        if plan.startswith(HIGHEST):
            height, _, plan = plan.removeprefix(HIGHEST).partition(b"\n")
            self.largest = int(height)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(plan, options, providers=["CPUExecutionProvider"])

    def __del__(self) -> None:
        self.module.note_end()

    def get_tensor_name(self, index: int) -> str:
        return ("image", "upscaled")[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name == "image" else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> str:
        return self.module.uint8 if name else ""

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.module.faults)

    def create_execution_context(self, how: Strategy | RuntimeConfig) -> Context | None:
        if self.module.faults.refused_contexts:
            self.module.say("Requested amount of GPU memory could not be allocated: out of memory")
            return None
        if isinstance(how, RuntimeConfig):
            self.module.configs.append(how)
            if how.cache is not None and how.cache.compiled == 0:
                how.cache.compiled = 1
                self.module.compilations += 1
        return Context(self, managed=how is Strategy.USER_MANAGED)


class PluginRegistry:
    """IPluginRegistry."""

    def __init__(self) -> None:
        self.all_creators: list[Any] = []

    def register_creator(self, creator: Any, namespace: str) -> bool:  # noqa: ANN401
        assert namespace == creator.plugin_namespace
        self.all_creators.append(creator)
        return True


@dataclass
class TensorRt:
    """The module."""

    __name__: str = "tensorrt"
    __version__: str = "10.3.0"
    uint8: str = "uint8"
    faults: Faults = field(default_factory=Faults)
    work: Work = field(default_factory=Work)
    enqueues: int = 0
    compilations: int = 0
    late: int = 0
    configs: list[RuntimeConfig] = field(default_factory=list)
    loggers: list[ILogger] = field(default_factory=list)
    builds: list[dict[str, Any]] = field(default_factory=list)
    OnnxParser: type = Parser
    NetworkDefinitionCreationFlag: Any = field(default_factory=lambda: NAMES["NetworkDefinitionCreationFlag"])
    BuilderFlag: Any = field(default_factory=lambda: NAMES["BuilderFlag"])
    ProfilingVerbosity: Any = field(default_factory=lambda: NAMES["ProfilingVerbosity"])
    MemoryPoolType: Any = field(default_factory=lambda: NAMES["MemoryPoolType"])
    LayerType: Any = field(default_factory=lambda: NAMES["LayerType"])
    ComputeCapability: Any = field(default_factory=lambda: NAMES["ComputeCapability"])
    registry: PluginRegistry = field(default_factory=PluginRegistry)
    aborted: bool = False
    ILogger: type = ILogger
    IPluginV3: type = field(default_factory=lambda: type("IPluginV3", (), {}))
    IPluginV3OneCore: type = field(default_factory=lambda: type("IPluginV3OneCore", (), {}))
    IPluginV3OneBuild: type = field(default_factory=lambda: type("IPluginV3OneBuild", (), {}))
    IPluginV3OneRuntime: type = field(default_factory=lambda: type("IPluginV3OneRuntime", (), {}))
    IPluginCreatorV3One: type = field(default_factory=lambda: type("IPluginCreatorV3One", (), {}))
    PluginFieldCollection: type = list
    ExecutionContextAllocationStrategy: type = Strategy
    TensorIOMode: Any = field(default_factory=lambda: SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"))
    CudaGraphStrategy: Any = field(
        default_factory=lambda: SimpleNamespace(WHOLE_GRAPH_CAPTURE="WHOLE", DISABLED="DISABLED")
    )

    def __hash__(self) -> int:
        return id(self)

    def get_plugin_registry(self) -> PluginRegistry:
        """As TensorRT's."""
        return self.registry

    def note_end(self) -> None:
        """An engine or context is freed, which needs a current CUDA context."""
        self.late += self.work.library.standin_depth() == 0

    def say(self, text: str) -> None:
        """Send an error to the logger, as TensorRT does."""
        self.loggers[-1].log(Severity.ERROR, text)

    def Builder(self, logger: ILogger) -> Builder:  # noqa: N802
        """The builder; as TensorRT's it cannot be made where there is nothing to build for."""
        if self.faults.refused_builder:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return Builder(self, logger)

    def Runtime(self, logger: ILogger) -> Any:  # noqa: ANN401, N802
        """The loader: an Engine from an ONNX model, nothing and an error message from anything else."""
        self.loggers.append(logger)

        def deserialize_cuda_engine(plan: bytes) -> Engine | None:
            if plan.startswith(NEEDS_PLUGIN) and not self.registry.all_creators:
                self.aborted = True  # TensorRT would end the process
                return None
            try:
                return Engine(self, plan.removeprefix(NEEDS_PLUGIN))
            except Exception:
                self.say("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magicTagRead == kMAGIC_TAG)")
                return None

        return SimpleNamespace(deserialize_cuda_engine=deserialize_cuda_engine)
