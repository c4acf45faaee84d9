"""ONNX graph -> TensorRT engine, by `runtime/building/`, which a device that builds one again uses as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.export.engine.compiler import Target, import_tensorrt
from defian_edge.export.engine.lowering import offer_plugin
from defian_edge.runtime.building.build import BuildOptions, BuiltEngine, build_plan, capability_for, open_builder
from defian_edge.runtime.building.compiler import CompilerLog
from defian_edge.runtime.building.function_only import without_plugin

if TYPE_CHECKING:
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
    return build_plan(graph, options.for_layers(plugins), None if progress is None else progress.monitor(trt))


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
