"""What runs a file and how: one typed object for each kind of file, given to ``open_session(path, backend=...)``."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import DefianError

CHECKS = ("once", "always", "never")
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""ONNX Runtime's names of what can run a graph."""


@dataclass(frozen=True, kw_only=True)
class GraphBackend:
    """How ONNX Runtime runs a graph (``.onnx``).

    Attributes:
        provider: ``cpu``, ``cuda`` or ``tensorrt``. The one asked for runs the graph, or it is an error.
        threads: of the CPU, 0 for ONNX Runtime's choice.

    Raises:
        DefianError: another provider, or a negative number of threads.
    """

    provider: str = "cpu"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            raise DefianError(f"No provider {self.provider!r}: expected one of {', '.join(PROVIDERS)}.")
        if self.threads < 0:
            raise DefianError(f"Expected 0 threads (ONNX Runtime's choice) or more, found {self.threads}.")


@dataclass(frozen=True, kw_only=True)
class EngineBackend:
    """How TensorRT or TensorRT-RTX runs an engine (``.engine``).

    Attributes:
        cuda_graphs: capture each shape's work after a warm-up; where that cannot be done ``describe()`` says why.
        shapes: shapes whose memory and graphs are kept; a further one takes the place of the one used longest ago.
        in_flight: frames that ``upscale_frames`` has under way at once.
        kernel_cache: keep the kernels that TensorRT-RTX compiles on this device, so that it compiles them once.
            TensorRT's engines hold theirs.
        device: ordinal of the GPU.
        check: whether ``open_session`` holds the engine against a picture of its reference pack before it gives it out:
            ``once`` on a device, ``always`` or ``never``; see :mod:`defian_edge.runtime.verify.first_open`.

    Raises:
        DefianError: fewer than one shape or frame, a negative ordinal, or another word for ``check``.
    """

    cuda_graphs: bool = True
    shapes: int = 4
    in_flight: int = 3
    kernel_cache: bool = True
    device: int = 0
    check: str = "once"

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise DefianError(f"Expected check as one of {', '.join(CHECKS)}, found {self.check!r}.")
        if min(self.shapes, self.in_flight) < 1 or self.device < 0:
            raise DefianError(f"Expected at least 1 shape and 1 frame in flight on GPU 0 or a later one, found {self}.")


Backend = GraphBackend | EngineBackend


def graph_backend(file: str, backend: Backend | None) -> GraphBackend:
    """What runs a graph; the default where nothing is said.

    Raises:
        DefianError: the options are an engine's.
    """
    if isinstance(backend, EngineBackend):
        raise DefianError(
            f"{file}: expected a GraphBackend for a graph, found the options of an engine, {backend}.",
            "Give backend=GraphBackend(provider=..., threads=...), or open the .engine file.",
        )
    return backend or GraphBackend()


def engine_backend(file: str, backend: Backend | None) -> EngineBackend:
    """What runs an engine; the default where nothing is said.

    Raises:
        DefianError: the options are a graph's.
    """
    if isinstance(backend, GraphBackend):
        raise DefianError(
            f"{file}: expected an EngineBackend for an engine, found the options of a graph, {backend}.",
            "TensorRT runs an engine: give backend=EngineBackend(...), or open the .onnx file.",
        )
    return backend or EngineBackend()
