"""ONNX graph -> TensorRT engine, through TensorRT's own parser.

Adds nothing to the graph: networks are strongly typed, so there are no precision flags. An export compiles the parsed
network through Polygraphy (``export/engine/build.py``); a device that builds again may lack it, and does so by
:func:`compile_network`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..engine.trt_import import import_module
from ..errors import DefianError, MissingPackageError
from ..manifest import ANY_CAPABILITY, EngineFacts
from .compiler import ANY, CURRENT, CompilerLog, compute_capability, require_supported

if TYPE_CHECKING:
    from types import ModuleType

    from ..profile import Shape, ShapeProfile

TENSORRT_RTX = "tensorrt-rtx"
MEBI = 1 << 20
MOST_WORKSPACE_MIB, BEST_LEVEL = 1 << 23, 5


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        flavour: ``tensorrt`` (this device) or ``tensorrt-rtx`` (ahead of time).
        profile: shapes of the low-resolution image.
        uint8: whether the graph's image is [N, H, W, 3] (uint8 I/O) or [N, 3, H, W] (float I/O).
        sm: TensorRT-RTX only: compute capability to build for, such as 89; ``current`` for this machine's GPU;
            ``any`` for no target, so that the engine is compiled on the device for whatever that is.
        workspace_mib: limit of the compiler's scratch memory; None for its default. 1024 suits an 8 GB Jetson.
        optimisation_level: 0 to 5, None for the compiler's default; TensorRT only.
        plugin_layers: so many layers of the parsed network are to be plugins; any other number is an error.
        ordinal: number of the GPU that it is built on, where it is built for this machine's.

    Raises:
        DefianError: a workspace or an optimisation level that no compiler takes.
    """

    flavour: str
    profile: ShapeProfile
    uint8: bool
    sm: int | str | None = None
    workspace_mib: int | None = None
    optimisation_level: int | None = None
    plugin_layers: int = 0
    ordinal: int = 0

    def __post_init__(self) -> None:
        workspace, level = self.workspace_mib, self.optimisation_level
        if workspace is not None and not 1 <= workspace <= MOST_WORKSPACE_MIB:
            raise DefianError(f"Expected a workspace from 1 to {MOST_WORKSPACE_MIB} MiB, found {workspace}.")
        if level is not None and not 0 <= level <= BEST_LEVEL:
            raise DefianError(f"Expected an optimisation level from 0 to {BEST_LEVEL}, found {level}.")


@dataclass(frozen=True)
class BuiltEngine:
    """A serialised plan, what the compiler said of it in figures, and every word of its log."""

    plan: bytes
    facts: EngineFacts
    log: tuple[str, ...] = ()


class Compiler(Protocol):
    """What makes a serialised plan of a parsed network; None if the compiler built none."""

    def __call__(self, trt: ModuleType, builder: Any, network: Any, options: BuildOptions) -> Any: ...  # noqa: ANN401


def compile_network(trt: ModuleType, builder: Any, network: Any, options: BuildOptions) -> Any:  # noqa: ANN401
    """By TensorRT's own builder alone. TF32 is off, so that FP32 is what it says, as by Polygraphy."""
    return builder.build_serialized_network(network, _config(trt, builder, network, options))


def build_plan(graph: bytes, options: BuildOptions, compiler: Compiler = compile_network) -> BuiltEngine:
    """Compile a serialised ONNX model. Plugins that it is to take are registered already.

    Args:
        graph: the model.
        options: how.
        compiler: what compiles the parsed network.

    Raises:
        DefianError: TensorRT is missing, has no GPU to build for, or refuses the graph, with its own words; or the
            parser made another number of plugin layers than wanted.
    """
    trt = import_module(options.flavour, f"--target {options.flavour}")
    log = CompilerLog(trt)
    builder = open_builder(trt, log, options.flavour)
    capability = capability_for(trt, options)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse(graph):
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise DefianError(f"{options.flavour} {trt.__version__} cannot parse the graph: {errors or log.complaints()}")
    require_plugin_layers(network, trt, options.plugin_layers)
    start = time.monotonic()
    plan = compiler(trt, builder, network, options)
    seconds = time.monotonic() - start
    if plan is None:
        raise DefianError(f"{options.flavour} {trt.__version__} built no engine: {log.complaints()}")
    plan = bytes(plan)
    facts = EngineFacts(
        flavour=options.flavour,
        version=trt.__version__,
        compute_capability=capability,
        activation_bytes=log.figure("Total Activation Memory"),
        weights_bytes=log.figure("Total Weights Memory"),
        engine_bytes=len(plan),
        build_seconds=round(seconds, 3),
        layers=network.num_layers,
        plugin_layers=options.plugin_layers,
        workspace_mib=options.workspace_mib,
        optimisation_level=options.optimisation_level,
    )
    return BuiltEngine(plan, facts, tuple(text for _, text in log.messages))


def open_builder(trt: ModuleType, log: CompilerLog, flavour: str) -> Any:  # noqa: ANN401
    """A ``Builder``.

    Raises:
        DefianError: there is no GPU or driver that it could build for, in its own words.
    """
    try:
        builder = trt.Builder(log.logger)
    except (TypeError, RuntimeError) as error:
        raise _no_device(flavour, log) from error
    if builder is None:
        raise _no_device(flavour, log)
    return builder


def _no_device(flavour: str, log: CompilerLog) -> DefianError:
    return DefianError(
        f"{flavour} cannot start: {log.complaints()}",
        "--target tensorrt builds on the device itself and needs its GPU and driver. Without one, build with "
        "--target tensorrt-rtx --sm 89, or stop at --target onnx and build on the device.",
    )


def capability_for(trt: ModuleType, options: BuildOptions) -> str:
    """The compute capability that the engine is for, such as ``8.9``.

    Raises:
        DefianError: TensorRT-RTX does not build for it, or was told none; or this machine's cannot be read.
    """
    if options.flavour == TENSORRT_RTX:
        if options.sm is None:
            raise DefianError("--target tensorrt-rtx needs --sm: the compute capability to build for, such as 89.")
        if options.sm == ANY:
            return ANY_CAPABILITY
        if options.sm != CURRENT:
            major, minor = compute_capability(trt, int(options.sm))
            return f"{major}.{minor}"
    major, minor = _device_capability(options.ordinal)
    if options.flavour == TENSORRT_RTX:
        require_supported(trt, (major, minor))
    return f"{major}.{minor}"


def _device_capability(ordinal: int) -> tuple[int, int]:
    """Of this machine's GPU of that number."""
    try:
        import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]

        cuda.init()
        major, minor = cuda.Device(ordinal).compute_capability()
    except ModuleNotFoundError as error:
        raise MissingPackageError("pycuda", "device", "Building for this machine's GPU") from error
    except Exception as error:  # pycuda's own errors derive from Exception, a missing driver is an ImportError
        raise DefianError(
            f"The device's compute capability cannot be read: {error}.", "pip install 'defian-edge[gpu]' on the device."
        ) from error
    return major, minor


def require_plugin_layers(network: Any, trt: ModuleType, wanted: int) -> None:  # noqa: ANN401 - a TensorRT network
    """Check that the parser took the lowering that was asked for.

    Raises:
        DefianError: the parsed network has another number of plugin layers than wanted.
    """
    kinds = [network.get_layer(index).type for index in range(network.num_layers)]
    found = kinds.count(trt.LayerType.PLUGIN_V3)
    if found != wanted:
        raise DefianError(
            f"Expected {wanted} plugin layers in the parsed network, found {found}.",
            "Where something else in this process has registered the plugin, build in a process of its own. Otherwise "
            "this is a defect of defian-edge, or of this TensorRT's ONNX parser; please report it.",
        )


def _config(trt: ModuleType, builder: Any, network: Any, options: BuildOptions) -> Any:  # noqa: ANN401
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MEBI)
    if options.optimisation_level is not None:
        config.builder_optimization_level = options.optimisation_level
    if options.flavour == TENSORRT_RTX and options.sm not in (None, ANY):
        config.num_compute_capabilities = 1
        config.set_compute_capability(_target(trt, options.sm), 0)
    profile = builder.create_optimization_profile()
    shapes = (options.profile.minimum, options.profile.optimum, options.profile.maximum)
    profile.set_shape(network.get_input(0).name, *(with_channels(shape, uint8=options.uint8) for shape in shapes))
    config.add_optimization_profile(profile)
    return config


def _target(trt: ModuleType, sm: int | str | None) -> Any:  # noqa: ANN401 - a ComputeCapability
    if sm == CURRENT:
        return trt.ComputeCapability.CURRENT
    return getattr(trt.ComputeCapability, f"SM{sm}")


def with_channels(shape: Shape, *, uint8: bool) -> tuple[int, int, int, int]:
    """The network's input of a (batch, height, width): NHWC as uint8, NCHW as float."""
    batch, height, width = shape
    return (batch, height, width, 3) if uint8 else (batch, 3, height, width)
