"""A deserialised engine: its tensors, its scratch memory, and execution contexts bound to buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import DefianError
from .rtx import RtxOptions, RtxSettings

if TYPE_CHECKING:
    from types import ModuleType

    from ..device.buffers import FrameBuffers
    from ..manifest import Manifest
    from .trt_import import RuntimeLog


class Execution:
    """An execution context. Only this object refers to TensorRT's, so that ``free`` frees it.

    Args:
        context: TensorRT's, or None if it made none.
        names: of the input and the output.
        log: keeps what TensorRT says.
        rebuild: how to build the engine again, for errors.

    Raises:
        DefianError: there is none.
    """

    def __init__(self, context: Any, names: tuple[str, str], log: RuntimeLog, rebuild: str) -> None:  # noqa: ANN401
        if context is None:
            raise log.failure("creating an execution context")
        self._context: Any = context
        self._names = names
        self._log = log
        self._rebuild = rebuild

    def use_memory(self, address: int, size: int) -> None:
        """Give it scratch memory on the device."""
        self._context.set_device_memory(address, size)

    def bind(self, buffers: FrameBuffers) -> None:
        """Tell TensorRT the shape and the addresses of the buffers.

        Raises:
            DefianError: it refuses them, or its output has another shape than the buffers.
        """
        shape, expected = tuple(buffers.host_in.shape), tuple(buffers.host_out.shape)
        if not self._context.set_input_shape(self._names[0], shape):
            raise self._log.failure(f"setting the input shape {shape}")
        found = tuple(self._context.get_tensor_shape(self._names[1]))
        if found != expected:
            raise DefianError(
                f"Expected {expected} from {shape}, as the manifest's scale says; found that the engine makes {found}.",
                f"Copy engine and manifest again. {self._rebuild}",
            )
        for name, memory in zip(self._names, (buffers.device_in, buffers.device_out), strict=True):
            if not self._context.set_tensor_address(name, int(memory)):
                raise self._log.failure(f"setting the address of {name}")

    def enqueue(self, stream: int) -> None:
        """Queue one run on a stream, given by its handle.

        Raises:
            DefianError: TensorRT refuses it.
        """
        if not self._context.execute_async_v3(stream):
            raise self._log.failure("running the engine")

    def free(self) -> None:
        """Free TensorRT's context; again is harmless."""
        self._context = None


class TrtEngine:
    """An engine on the device. The CUDA context is current wherever a method is called.

    TensorRT: all execution contexts share one block of scratch memory, large enough for the profile's largest shape;
    they run on one stream, so never at once. TensorRT-RTX: one execution context, which holds its own memory.

    Args:
        trt: the ``tensorrt`` or ``tensorrt_rtx`` module.
        log: keeps what TensorRT says.
        plan: the serialised engine.
        manifest: names the file in errors, and has the scale.
        cuda: the ``pycuda.driver`` module.
        rtx: settings for a TensorRT-RTX engine; None for a TensorRT engine.

    Raises:
        DefianError: TensorRT refuses the plan, or its tensors are not one uint8 image in and one out.
    """

    def __init__(
        self,
        trt: ModuleType,
        log: RuntimeLog,
        plan: bytes,
        manifest: Manifest,
        cuda: Any,  # noqa: ANN401
        rtx: RtxOptions | None,
    ) -> None:
        self._trt = trt
        self._log = log
        self._scratch: Any = None
        self._rtx: RtxSettings | None = None
        self._shared: Execution | None = None
        self._rebuild = f"Rebuild it: {manifest.command}"
        self._runtime: Any = trt.Runtime(log.logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise log.failure(f"loading {manifest.file}", self._rebuild)
        try:
            self._names = self._tensor_names(manifest.file)
            if rtx is not None:
                self._rtx = RtxSettings(trt, self._engine, rtx)
            else:
                self._scratch_bytes: int = self._engine.device_memory_size_v2
                self._scratch = cuda.mem_alloc(max(self._scratch_bytes, 1))
        except BaseException:
            self.close()
            raise

    def _tensor_names(self, file: str) -> tuple[str, str]:
        mode = self._trt.TensorIOMode.INPUT
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == mode]
        outputs = [name for name in names if name not in inputs]
        types = {self._engine.get_tensor_dtype(name) for name in names}
        if len(inputs) != 1 or len(outputs) != 1 or types != {self._trt.uint8}:
            raise DefianError(
                f"{file}: expected one uint8 input and one uint8 output, found {inputs} -> {outputs} of {types}.",
                self._rebuild,
            )
        return inputs[0], outputs[0]

    @property
    def captures_itself(self) -> bool:
        """Whether CUDA graphs are TensorRT's own work (TensorRT-RTX)."""
        return self._rtx is not None

    def context(self) -> Execution:
        """An execution context for one set of buffers.

        Raises:
            DefianError: TensorRT makes none.
        """
        if self._rtx is not None:
            if self._shared is None:
                self._shared = Execution(self._rtx.create_context(), self._names, self._log, self._rebuild)
            return self._shared
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        execution = Execution(context, self._names, self._log, self._rebuild)
        execution.use_memory(int(self._scratch), self._scratch_bytes)
        return execution

    def close(self) -> None:
        """Free the engine and its memory; all contexts but the shared one are gone, and nothing runs."""
        rtx, self._rtx = self._rtx, None
        try:
            if rtx is not None:
                rtx.keep_cache()
        finally:
            rtx = None
            if self._shared is not None:
                self._shared.free()
            self._shared = self._engine = self._runtime = None
            if self._scratch is not None:
                self._scratch.free()
                self._scratch = None
