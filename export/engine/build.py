"""ONNX graph -> TensorRT engine. Adds nothing to the graph: networks are strongly typed, no precision flags."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from defian_edge.export.engine.compiler import (
    ANY,
    CURRENT,
    CompilerLog,
    Target,
    compute_capability,
    import_tensorrt,
    require_supported,
)
from defian_edge.export.engine.lowering import offer_plugin, require_plugin_layers, without_plugin
from defian_edge.export.trace.network import INPUT
from defian_edge.runtime.errors import DefianError, MissingPackageError
from defian_edge.runtime.manifest import ANY_CAPABILITY, EngineFacts

if TYPE_CHECKING:
    from types import ModuleType

    from defian_edge.export.engine.progress import BuildProgress
    from defian_edge.runtime.profile import ShapeProfile

MEBI = 1 << 20


@dataclass(frozen=True)
class EngineOptions:
    """How to build.

    Attributes:
        target: TENSORRT (this device) or TENSORRT_RTX (ahead of time).
        profile: shapes of the low-resolution image.
        uint8: whether the graph's image is [N, H, W, 3] (uint8 I/O) or [N, 3, H, W] (float I/O).
        sm: TensorRT-RTX only: compute capability to build for, such as 89; ``current`` for this machine's GPU;
            ``any`` for no target, so that the engine is compiled on the device for whatever that is.
        workspace_mib: limit of the compiler's scratch memory; None for its default. 1024 suits an 8 GB Jetson.
        optimisation_level: 0 to 5, None for the compiler's default; TensorRT only.
        plugin: take the eigenvalue plugin for every eigenvalue node; otherwise the function, always.
    """

    target: Target
    profile: ShapeProfile
    uint8: bool
    sm: int | str | None = None
    workspace_mib: int | None = None
    optimisation_level: int | None = None
    plugin: bool = False


@dataclass(frozen=True)
class BuiltEngine:
    """A serialised plan, what the compiler said of it in figures, and every word of its log."""

    plan: bytes
    facts: EngineFacts
    log: tuple[str, ...] = ()


def build_engine(graph: bytes, options: EngineOptions, progress: BuildProgress | None = None) -> BuiltEngine:
    """Compile a serialised ONNX model.

    Raises:
        DefianError: TensorRT is missing, has no GPU to build for, or refuses the graph, with its own words; or the
            plugin is wanted and cannot be had.
    """
    trt = import_tensorrt(options.target)
    log = CompilerLog(trt)
    builder = _builder(trt, log, options.target)
    capability = _capability(trt, options)
    plugins = offer_plugin(trt, graph) if options.plugin else 0
    if not options.plugin:
        graph = without_plugin(graph)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse(graph):
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise DefianError(
            f"{options.target.value} {trt.__version__} cannot parse the graph: {errors or log.complaints()}"
        )
    require_plugin_layers(network, trt, plugins)
    start = time.monotonic()
    plan = _compile(trt, builder, network, options, progress, log)
    seconds = time.monotonic() - start
    facts = EngineFacts(
        flavour=options.target.value,
        version=trt.__version__,
        compute_capability=capability,
        activation_bytes=log.figure("Total Activation Memory"),
        weights_bytes=log.figure("Total Weights Memory"),
        engine_bytes=len(plan),
        build_seconds=round(seconds, 3),
        layers=network.num_layers,
        plugin_layers=plugins,
    )
    return BuiltEngine(plan, facts, tuple(text for _, text in log.messages))


def require_target(options: EngineOptions) -> None:
    """Say before any work starts that an engine cannot be built here, or not for that GPU.

    Raises:
        DefianError: as ``build_engine``, for what does not depend on the graph.
    """
    trt = import_tensorrt(options.target)
    _capability(trt, options)
    _builder(trt, CompilerLog(trt), options.target)


def _builder(trt: ModuleType, log: CompilerLog, target: Target) -> Any:  # noqa: ANN401
    try:
        builder = trt.Builder(log.logger)
    except (TypeError, RuntimeError) as error:
        raise _no_device(target, log) from error
    if builder is None:
        raise _no_device(target, log)
    return builder


def _no_device(target: Target, log: CompilerLog) -> DefianError:
    return DefianError(
        f"{target.value} cannot start: {log.complaints()}",
        "--target tensorrt builds on the device itself and needs its GPU and driver. Without one, build with "
        "--target tensorrt-rtx --sm 89, or stop at --target onnx and build on the device.",
    )


def _capability(trt: ModuleType, options: EngineOptions) -> str:
    """The compute capability the engine is for, such as ``8.9``."""
    if options.target is Target.TENSORRT_RTX:
        if options.sm is None:
            raise DefianError("--target tensorrt-rtx needs --sm: the compute capability to build for, such as 89.")
        if options.sm == ANY:
            return ANY_CAPABILITY
        if options.sm != CURRENT:
            major, minor = compute_capability(trt, int(options.sm))
            return f"{major}.{minor}"
    major, minor = _device_capability()
    if options.target is Target.TENSORRT_RTX:
        require_supported(trt, (major, minor))
    return f"{major}.{minor}"


def _device_capability() -> tuple[int, int]:
    """Of this machine's first GPU."""
    try:
        import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]

        cuda.init()
        major, minor = cuda.Device(0).compute_capability()
    except ModuleNotFoundError as error:
        raise MissingPackageError("pycuda", "device", "Building for this machine's GPU") from error
    except Exception as error:  # pycuda's own errors derive from Exception, a missing driver is an ImportError
        raise DefianError(
            f"The device's compute capability cannot be read: {error}.", "pip install 'defian-edge[gpu]' on the device."
        ) from error
    return major, minor


def _compile(
    trt: ModuleType,
    builder: Any,  # noqa: ANN401
    network: Any,  # noqa: ANN401
    options: EngineOptions,
    progress: BuildProgress | None,
    log: CompilerLog,
) -> bytes:
    from polygraphy.backend.trt import EngineBytesFromNetwork, Profile
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    G_LOGGER.module_severity = G_LOGGER.CRITICAL
    channels = {True: lambda s: (*s, 3), False: lambda s: (s[0], 3, *s[1:])}[options.uint8]
    shapes = (options.profile.minimum, options.profile.optimum, options.profile.maximum)
    common: dict[str, Any] = {
        "profiles": [Profile().add(INPUT, *(channels(shape) for shape in shapes))],
        "profiling_verbosity": trt.ProfilingVerbosity.DETAILED,
        "builder_optimization_level": options.optimisation_level,
        "progress_monitor": None if progress is None else progress.monitor(trt),
    }
    if options.workspace_mib is not None:
        common["memory_pool_limits"] = {trt.MemoryPoolType.WORKSPACE: options.workspace_mib * MEBI}
    try:
        config = _config_loader(trt, options, common)
        return bytes(EngineBytesFromNetwork((builder, network), config)())
    except PolygraphyException as error:
        raise DefianError(f"{options.target.value} {trt.__version__} built no engine: {log.complaints()}") from error


def _config_loader(trt: ModuleType, options: EngineOptions, common: dict[str, Any]) -> Any:  # noqa: ANN401
    if options.target is Target.TENSORRT_RTX and options.sm not in (None, ANY):
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

        if options.sm == CURRENT:
            return CreateConfigRTX(use_gpu=True, **common)
        return CreateConfigRTX(compute_capabilities=[compute_capability(trt, int(options.sm or 0))], **common)
    from polygraphy.backend.trt import CreateConfig

    return CreateConfig(**common)
