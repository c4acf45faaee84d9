"""ONNX graph -> TensorRT engine: parsed by `runtime/building/`, as on a device that builds again; then Polygraphy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from defian_edge.export.engine.compiler import Target, import_tensorrt
from defian_edge.export.engine.lowering import offer_plugin
from defian_edge.export.trace.network import INPUT
from defian_edge.runtime.building.build import (
    MEBI,
    TENSORRT_RTX,
    BuildOptions,
    BuiltEngine,
    Compiler,
    build_plan,
    capability_for,
    open_builder,
    with_channels,
)
from defian_edge.runtime.building.compiler import ANY, CURRENT, CompilerLog, compute_capability
from defian_edge.runtime.building.function_only import without_plugin

if TYPE_CHECKING:
    from types import ModuleType

    from defian_edge.export.engine.progress import BuildProgress
    from defian_edge.runtime.profile import ShapeProfile

__all__ = ["BuiltEngine", "EngineOptions", "build_engine", "require_target"]


@dataclass(frozen=True)
class EngineOptions:
    """How to build.

    Attributes:
        target: TENSORRT (this device) or TENSORRT_RTX (ahead of time).
        plugin: take the eigenvalue plugin for every eigenvalue node; otherwise the function, always.
        profile, uint8, sm, workspace_mib, optimisation_level: see
            :class:`defian_edge.runtime.building.build.BuildOptions`.
    """

    target: Target
    profile: ShapeProfile
    uint8: bool
    sm: int | str | None = None
    workspace_mib: int | None = None
    optimisation_level: int | None = None
    plugin: bool = False

    def for_layers(self, plugin_layers: int = 0) -> BuildOptions:
        """The builder's options, for a graph of which so many layers are to be plugins."""
        return BuildOptions(
            flavour=self.target.value,
            profile=self.profile,
            uint8=self.uint8,
            sm=self.sm,
            workspace_mib=self.workspace_mib,
            optimisation_level=self.optimisation_level,
            plugin_layers=plugin_layers,
        )


def build_engine(graph: bytes, options: EngineOptions, progress: BuildProgress | None = None) -> BuiltEngine:
    """Compile a serialised ONNX model.

    Raises:
        DefianError: TensorRT is missing, has no GPU to build for, or refuses the graph, with its own words; or the
            plugin is wanted and cannot be had.
    """
    trt = import_tensorrt(options.target)
    plugins = 0
    if options.plugin:
        plugins = offer_plugin(trt, graph)
    else:
        graph = without_plugin(graph)
    return build_plan(graph, options.for_layers(plugins), _by_polygraphy(progress))


def _by_polygraphy(progress: BuildProgress | None) -> Compiler:
    """Polygraphy's way from a parsed network to a plan, which shows how far it is."""
    from polygraphy.backend.trt import EngineBytesFromNetwork, Profile
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    G_LOGGER.module_severity = G_LOGGER.CRITICAL

    def compiled(trt: ModuleType, builder: Any, network: Any, options: BuildOptions) -> Any:  # noqa: ANN401
        shapes = (options.profile.minimum, options.profile.optimum, options.profile.maximum)
        common: dict[str, Any] = {
            "profiles": [Profile().add(INPUT, *(with_channels(shape, uint8=options.uint8) for shape in shapes))],
            "profiling_verbosity": trt.ProfilingVerbosity.DETAILED,
            "builder_optimization_level": options.optimisation_level,
            "progress_monitor": None if progress is None else progress.monitor(trt),
        }
        if options.workspace_mib is not None:
            common["memory_pool_limits"] = {trt.MemoryPoolType.WORKSPACE: options.workspace_mib * MEBI}
        try:
            return EngineBytesFromNetwork((builder, network), _config_loader(trt, options, common))()
        except PolygraphyException:
            return None

    return compiled


def _config_loader(trt: ModuleType, options: BuildOptions, common: dict[str, Any]) -> Any:  # noqa: ANN401
    if options.flavour == TENSORRT_RTX and options.sm not in (None, ANY):
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

        if options.sm == CURRENT:
            return CreateConfigRTX(use_gpu=True, **common)
        return CreateConfigRTX(compute_capabilities=[compute_capability(trt, int(options.sm or 0))], **common)
    from polygraphy.backend.trt import CreateConfig

    return CreateConfig(**common)


def require_target(options: EngineOptions) -> str:
    """Say before any work starts that an engine cannot be built here, or not for that GPU.

    Returns:
        the compute capability that it would be for, such as ``8.9``, or ``any``.

    Raises:
        DefianError: as ``build_engine``, for what does not depend on the graph.
    """
    trt = import_tensorrt(options.target)
    capability = capability_for(trt, options.for_layers())
    open_builder(trt, CompilerLog(trt), options.target.value)
    return capability
