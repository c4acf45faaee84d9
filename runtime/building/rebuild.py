"""An engine that does not fit this device is built again from its graph, beside it and by its manifest's own options.

TensorRT's plans load only with the version and on the GPU model that built them. Where the graph lies beside the
engine, a device that has a builder need not send its user away: the new engine gets a name with version and compute
capability, so that the old one is left alone and another machine that shares the folder finds its own. One process
builds; those that want the same engine wait for it.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..device.context import DeviceContext
from ..engine.preflight import engine_facts, read_plan, require_device, require_shape, require_version, widened
from ..engine.trt_import import import_flavour
from ..errors import DefianError
from ..files import cannot_write, write_whole
from ..interface import require_uint8_io
from ..manifest import ANY_CAPABILITY, command_for, command_with, manifest_path, read_manifest
from ..plugin import provide
from ..producer import BUILT_BY
from ..temporary import alone
from .build import TENSORRT_RTX, BuildOptions, build_plan, open_builder
from .compiler import ANY, CURRENT, CompilerLog, require_supported, targets
from .function_only import without_plugin
from .graph_file import graph_beside
from .rtx_parser import let_parser_find_plugins

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from ..manifest import Manifest
    from ..profile import Shape, ShapeProfile

LOGGER = logging.getLogger(__name__)


class RebuiltEngineWarning(UserWarning):
    """An engine does not fit this device, and is built again, which can take minutes."""


@dataclass(frozen=True)
class Wanted:
    """The engine that this device needs.

    Attributes:
        version: of the TensorRT that is here, such as ``10.3.0``.
        gpu: its name.
        capability: its compute capability, such as (8, 7).
        profile: shapes of the engine.
        sm: what TensorRT-RTX is to build for; None for TensorRT, which builds for the GPU.
        ordinal: number of the GPU.
    """

    version: str
    gpu: str
    capability: tuple[int, int]
    profile: ShapeProfile
    sm: int | str | None
    ordinal: int = 0

    @property
    def built_for(self) -> str:
        """The compute capability in its manifest."""
        return ANY_CAPABILITY if self.sm == ANY else f"{self.capability[0]}.{self.capability[1]}"


def engine_that_fits(path: Path, ordinal: int = 0, shape: Shape | None = None) -> Path:
    """The engine if it fits this device; else the one that was built again here, which is built now if there is none.

    Args:
        path: the engine; its manifest lies beside it, and its graph if it is to be built again.
        ordinal: of the GPU.
        shape: a (batch, height, width) that will be asked for; None for any.

    Raises:
        DefianError: it does not fit, and there is no graph of it or no builder here: as ``open_session`` says it.
            Or the compiler refuses the graph, or the folder cannot be written.
    """
    manifest = read_manifest(path)
    require_uint8_io(manifest)
    facts = engine_facts(manifest)
    trt = import_flavour(facts.flavour, manifest.command)
    refusal = _refusal(lambda: require_version(manifest, trt.__version__))
    if shape is not None:
        asked = shape
        refusal = refusal or _refusal(lambda: require_shape(manifest, asked))
    try:
        device = DeviceContext(ordinal)
    except DefianError as error:
        raise refusal or error from error
    with closing(device), device.current():
        name, capability = device.name, device.capability
        refusal = refusal or _refusal(lambda: require_device(manifest, name, capability))
        if refusal is None:
            return path
        graph = graph_beside(path, manifest)
        if graph is None or not _has_builder(trt, facts.flavour, capability, plugin=bool(manifest.plugins)):
            raise refusal
        try:
            wanted = replace(wanted_engine(manifest, trt, name, capability, shape), ordinal=ordinal)
        except DefianError as error:
            raise refusal from error
        return rebuilt(manifest, graph, wanted, trt, refusal)


def _refusal(require: Callable[[], None]) -> DefianError | None:
    try:
        require()
    except DefianError as error:
        return error
    return None


def _has_builder(trt: ModuleType, flavour: str, capability: tuple[int, int], *, plugin: bool) -> bool:
    """Whether this TensorRT builds for this GPU: a runtime alone has no builder, and RTX does not take every GPU."""
    if not hasattr(trt, "Builder") or not hasattr(trt, "OnnxParser"):
        return False
    if not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return False  # TensorRT 8, which would choose precisions by itself
    try:
        open_builder(trt, CompilerLog(trt), flavour)
        if flavour == TENSORRT_RTX:
            require_supported(trt, capability)
            return not plugin or let_parser_find_plugins()  # else its parser would end the process
    except DefianError as error:
        LOGGER.info("no builder here: %s", error.message)
        return False
    return True


def wanted_engine(
    manifest: Manifest, trt: ModuleType, gpu: str, capability: tuple[int, int], shape: Shape | None
) -> Wanted:
    """What is to be built: the manifest's own profile, or one that is as much wider as the shape asks for.

    Raises:
        DefianError: the manifest is none of an engine.
    """
    facts, profile = engine_facts(manifest), manifest.profile
    if profile is None:
        raise DefianError(f"{manifest.file}: expected a profile in the manifest, found none.", manifest.command)
    if shape is not None:
        profile = widened(profile, shape)
    sm: int | str | None = None
    if facts.flavour == TENSORRT_RTX:
        number = 10 * capability[0] + capability[1]
        sm = number if number in targets(trt) else CURRENT
        sm = ANY if facts.compute_capability == ANY_CAPABILITY else sm
    return Wanted(trt.__version__, gpu, capability, profile, sm)


def name_of(graph: Path, manifest: Manifest, wanted: Wanted) -> str:
    """Such as ``defian-s-x2.fp16.tensorrt-10.3.0-sm87.engine``; with the profile where that is not the manifest's."""
    major, minor = wanted.capability
    built_for = ANY if wanted.sm == ANY else f"sm{major}{minor}"
    profile = "" if wanted.profile == manifest.profile else f"-{str(wanted.profile).replace(',', '-')}"
    return f"{graph.stem}.{engine_facts(manifest).flavour}-{wanted.version}-{built_for}{profile}.engine"


def rebuilt(manifest: Manifest, graph: Path, wanted: Wanted, trt: ModuleType, refusal: DefianError) -> Path:
    """The engine that is wanted, from an earlier time, from another process, or built now.

    Raises:
        DefianError: the compiler refuses the graph, or the folder cannot be written.
    """
    target = graph.with_name(name_of(graph, manifest, wanted))
    if _is_there(target, manifest, wanted):
        return target
    LOGGER.info("waiting for whoever builds %s", target.name)
    try:
        with alone(target):
            if not _is_there(target, manifest, wanted):
                text = f"{refusal.message} It is built again as {target.name}, which can take minutes."
                warnings.warn(text, RebuiltEngineWarning, stacklevel=5)
                _build(manifest, graph, target, wanted, trt)
    except OSError as error:
        raise cannot_write(target, error, "--engine") from refusal
    return target


def _is_there(target: Path, manifest: Manifest, wanted: Wanted) -> bool:
    """Whether an earlier run left the whole engine, with a manifest that fits it, this device and the graph."""
    if not (target.is_file() and manifest_path(target).is_file()):
        return False
    try:
        known = read_manifest(target)
        require_version(known, wanted.version)
        require_device(known, wanted.gpu, wanted.capability)
    except DefianError as error:
        LOGGER.info("%s is built anew: %s", target.name, error.message)
        return False
    return known.parent_sha256 == manifest.parent_sha256 and known.profile == wanted.profile


def _build(manifest: Manifest, graph: Path, target: Path, wanted: Wanted, trt: ModuleType) -> None:
    facts = engine_facts(manifest)
    content = read_plan(graph)
    if hashlib.sha256(content).hexdigest() != manifest.parent_sha256:
        raise DefianError(f"{graph} has changed while {target.name} was to be built of it.", manifest.command)
    provide(trt, manifest.plugins, manifest.command, manifest.built_by)
    if not manifest.plugins:
        content = without_plugin(content)
    options = BuildOptions(
        flavour=facts.flavour,
        profile=wanted.profile,
        uint8=manifest.io == "uint8",
        sm=wanted.sm,
        workspace_mib=facts.workspace_mib,
        optimisation_level=facts.optimisation_level,
        plugin_layers=facts.plugin_layers if manifest.plugins else 0,
        ordinal=wanted.ordinal,
    )
    built = build_plan(content, options)
    write_whole(target, built.plan, "--engine")
    command = manifest.command
    if wanted.profile != manifest.profile:
        command = command_with(command, "--profile", str(wanted.profile))
    if facts.compute_capability != wanted.built_for:
        command = command_for(command, facts.flavour, str(wanted.sm or ""))
    replace(
        manifest,
        file=target.name,
        sha256=hashlib.sha256(built.plan).hexdigest(),
        profile=wanted.profile,
        engine=replace(built.facts, compute_capability=wanted.built_for),
        built_by=BUILT_BY,
        command=command,
    ).write(target.parent)
