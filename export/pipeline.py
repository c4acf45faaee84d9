"""The whole way once: network -> graph -> rewrites -> precisions -> drift gate -> engines -> manifests."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from defian_edge.calibration.drift.hard_images import hard_images_for
from defian_edge.calibration.drift.verdict import DriftVerdict
from defian_edge.calibration.photos import CalibrationSet, EvaluationPair, calibration_set, evaluation_pairs
from defian_edge.calibration.ranges.fp16_range import beyond_fp16
from defian_edge.export.advice import recommended
from defian_edge.export.artefacts import Artefact, Built, ExportResult, write
from defian_edge.export.device import require_capability
from defian_edge.export.engine.build import BuiltEngine, EngineOptions, build_engine, require_target
from defian_edge.export.engine.compiler import Target
from defian_edge.export.engine.fit import needs_of, too_large
from defian_edge.export.engine.lowering import Eigen, inline_functions
from defian_edge.export.engine.plan_cache import keep_plan, planned_traffic
from defian_edge.export.graph import copy_of
from defian_edge.export.graphs import rewritten_graphs
from defian_edge.export.measure import DriftGate, Measured, PackSize
from defian_edge.export.mixing import Mixing
from defian_edge.export.precision import Precision
from defian_edge.export.precision.fp16 import NOTHING, by_measurement
from defian_edge.export.precision.int8.variant import Int8Options, make_int8
from defian_edge.export.precision.shares import shares_of
from defian_edge.export.precision.variants import Variant, make_bf16, make_fp16
from defian_edge.export.rewrites import Rewrite, select
from defian_edge.export.source.fitting import fitting_pair, fitting_profile
from defian_edge.export.source.opening import open_source
from defian_edge.export.stopwatch import Stopwatch
from defian_edge.export.trace.network import Io
from defian_edge.export.triton.repository import triton_repository
from defian_edge.runtime.building.compiler import ANY, CURRENT
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import require_writable_folder, write_whole
from defian_edge.runtime.hardware.here import device_for
from defian_edge.runtime.log import telling

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import onnx_ir as ir

    from defian_edge.export.engine.progress import BuildProgress
    from defian_edge.export.graphs import Graphs
    from defian_edge.export.options import ExportOptions
    from defian_edge.export.source.base import SourceNetwork
    from defian_edge.export.source.opening import Source
    from defian_edge.export.triton.repository import ServedModel
    from defian_edge.runtime.hardware.device import Device

LOGGER = logging.getLogger(__name__)


RANGE_PHOTOS = 8
"""FP16's range is measured on so many of the images that drift is measured on, and on hard ones."""


class DeviceWarning(UserWarning):
    """An engine will not fit the device that it is for."""


@dataclass(frozen=True)
class _Inputs:
    network: SourceNetwork
    options: ExportOptions
    rewrites: tuple[Rewrite, ...]
    pairs: list[EvaluationPair]
    patches: CalibrationSet | None
    capability: str
    """Of the GPUs that engines are built for, such as ``8.9``, or ``any``; empty if none is built."""


def run_export(
    source: Source,
    options: ExportOptions,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[str], BuildProgress] | None = None,
    warn: Callable[[str], None] = lambda text: warnings.warn(text, DeviceWarning, stacklevel=3),
) -> ExportResult:
    """Export a network as the options say.

    Args:
        source: bundled name, path of a checkpoint, or a loaded network.
        options: what to make.
        say: told what is being done, one short line at a time.
        progress: makes a progress display for each engine build.
        warn: told before the long work what of it will not fit ``options.device``.

    Raises:
        DefianError: an input is missing or unusable. All inputs are looked at before the work starts, and
            nothing is written before everything is measured and built.
    """
    say, watch = telling(LOGGER, say), Stopwatch()
    with watch.step("inputs"):
        inputs = _inputs(source, options)
    network, options = inputs.network, inputs.options
    say(f"tracing {network.description}")
    with watch.step("trace and rewrites"):
        graphs = rewritten_graphs(network, inputs.rewrites, options, say)
    device = None if options.device is None else device_for(options.device)
    for text in [] if device is None else _unfitting(graphs, network, options, device):
        warn(text)
    variants: list[Variant] = []
    for precision in options.precisions:
        with watch.step(precision.value):
            variants.append(_variant(graphs.of(precision), precision, inputs, options, say))
    pack, measured = None, [Measured()] * len(variants)
    if options.io is Io.UINT8:
        with watch.step("drift"):
            size = PackSize(options.profile, options.reference_size)
            gate = DriftGate(network, inputs.pairs, size, say)
            pack, mixing = gate.pack, Mixing(gate, options, inputs.capability, _range_images(inputs), say)
            for index, variant in enumerate(variants):
                variants[index], measured[index] = _typed(variant, gate.measured(variant), mixing, graphs)
    built: list[Built] = []
    for variant, found in zip(variants, measured, strict=True):
        verdict, engine = _verdict(variant, found, options.max_drift), None
        if verdict.passed and options.target is not Target.ONNX:
            say(f"building the {variant.precision.value} engine")
            with watch.step(f"{variant.precision.value} engine"):
                engine = _engine(variant, options, progress)
        with watch.step("shares"):
            counted = shares_of(variant.model, graphs.features(variant.precision), options.profile.optimum)
        built.append(Built(variant, found, verdict, counted, engine))
    with watch.step("files"):
        pack = pack if any(item.verdict.passed for item in built) else None
        if pack is not None:
            write_whole(options.out / pack.name, pack.content)
        artefacts = [write(item, network, graphs.names(item.variant.precision), options) for item in built]
        served = _serve(artefacts, options)
    fp16 = next((item.shares for item in built if item.variant.precision is Precision.FP16), None)
    if fp16 is None and Precision.INT8 in options.precisions:
        fp16 = shares_of(make_fp16(graphs.whole), graphs.features(Precision.FP16), options.profile.optimum)
    pack_path = None if pack is None else options.out / pack.name
    advice = ""
    if device is not None:
        wide = options.target is Target.TENSORRT_RTX
        advice = recommended(artefacts, device, options.profile, wide_results=wide)
    return ExportResult(
        network, graphs.steps, tuple(artefacts), options.profile, fp16, pack, pack_path, served, watch.seconds, advice
    )


def _unfitting(graphs: Graphs, network: SourceNetwork, options: ExportOptions, device: Device) -> list[str]:
    """One sentence for each precision whose engine does not fit the device, and the profile that would."""
    planned, profile = graphs.steps[-1].activation_bytes, options.profile
    needs = needs_of(graphs.whole, options.precisions, profile, network.scale, planned)
    fixed = network.fixed_profile is not None
    told = (
        too_large(need, each, profile, device, one_size=fixed)
        for each, need in zip(options.precisions, needs, strict=True)
    )
    return [text for text in told if text]


def _inputs(source: Source, options: ExportOptions) -> _Inputs:
    if options.io is Io.FLOAT and (Precision.INT8 in options.precisions or options.max_drift is not None):
        raise DefianError(
            "--io float is for parity tests of FP32 and FP16: INT8 ranges and drift are measured on uint8 images.",
            "Leave --io float out, or ask for --precision fp32 or fp16 without --max-drift.",
        )
    network = open_source(source, options.picture, options.scale)
    if options.name:
        network = network.renamed(options.name)
    options = replace(options, profile=fitting_profile(options.profile, network))
    rewrites = () if options.plain else select(options.without, options.use, options.profile.maximum[0])
    scale = network.scale
    pairs = [] if options.io is Io.FLOAT else evaluation_pairs(scale, options.dataset, options.lr, options.hr)
    pairs = [fitting_pair(pair, network) for pair in pairs]
    patches = None
    if Precision.INT8 in options.precisions:
        patches = calibration_set(options.calibration, scale, options.patches)
        patches = replace(patches, only=(network.sizes.height, network.sizes.width))
        for _ in patches:
            pass  # a photo that cannot be used is found now, not after the trace
        if _int8_options(options).needs_validation:
            patches.split()
    require_writable_folder(options.out)
    if options.triton is not None:
        require_writable_folder(options.triton, "--triton")
    capability = ""
    if options.target is not Target.ONNX:
        capability = require_target(_engine_options(options))
        if options.device is not None:
            require_capability(device_for(options.device), capability)
    return _Inputs(network, options, rewrites, pairs, patches, capability)


def _range_images(inputs: _Inputs) -> list[np.ndarray]:
    """What FP16's range is measured on."""
    hard = hard_images_for(inputs.network.taken)
    return [*(pair.lr for pair in inputs.pairs[:RANGE_PHOTOS]), *hard.values()]


def _variant(
    graph: ir.Model,
    precision: Precision,
    inputs: _Inputs,
    options: ExportOptions,
    say: Callable[[str], None],
) -> Variant:
    images = _range_images(inputs)
    if precision is Precision.INT8 and inputs.patches is not None:
        variant = make_int8(graph, inputs.network, inputs.patches, _int8_options(options), images, say)
    elif precision is Precision.FP32:
        variant = Variant(precision, copy_of(graph))
    elif precision is Precision.BF16:
        variant = Variant(precision, make_bf16(graph))
    else:
        say("measuring what leaves the range of FP16")
        measured = options.io is Io.UINT8
        beyond = beyond_fp16(graph, images, options.profile.largest_pixels) if measured else NOTHING
        variant = Variant(precision, make_fp16(graph, beyond), {}, beyond, by_measurement(graph, beyond))
    if options.eigen is Eigen.INLINE:
        inline_functions(variant.model)
    return variant


def _typed(variant: Variant, found: Measured, mixing: Mixing, graphs: Graphs) -> tuple[Variant, Measured]:
    """FP16 with other types in the parts that need them, and its drift then; other precisions as they are."""
    if variant.precision is Precision.FP16:
        return mixing.where_needed(variant, found, graphs.of(variant.precision))
    return variant, found


def _verdict(variant: Variant, measured: Measured, budget: float | None) -> DriftVerdict:
    """The drift's verdict; INT8 may have refused itself before, and FP16 its mixed types: nothing kept the budget."""
    name, report = variant.precision.value, measured.report
    found = DriftVerdict(name) if report is None else report.verdict(budget)
    refused = variant.calibration.get("refused") or variant.mixed.get("refused")
    return replace(found, reasons=(refused, *found.reasons)) if refused else found


def _engine(variant: Variant, options: ExportOptions, progress: Callable[[str], BuildProgress] | None) -> BuiltEngine:
    display = None if progress is None else progress(f"{variant.precision.value} engine")
    graph, engine_options = variant.serialise(), _engine_options(options)
    built = build_engine(graph, engine_options, display)
    if options.target is not Target.TENSORRT_RTX or options.sm in (ANY, CURRENT):
        return built  # their logs list no kernels with sizes, or this machine may lack the GPU
    traffic = keep_plan(graph, engine_options, built).traffic or planned_traffic(graph, engine_options)
    if traffic is None:
        return built
    return replace(built, facts=replace(built.facts, kernels=traffic.kernels, moved_bytes=traffic.bytes))


def _serve(artefacts: list[Artefact], options: ExportOptions) -> tuple[ServedModel, ...]:
    """Add what was accepted to the Triton repository, if there is one."""
    files = [artefact.file for artefact in artefacts if artefact.file is not None]
    if options.triton is None or not files:
        return ()
    serving = options.serving
    if options.target is Target.ONNX:
        serving = replace(serving, profile=serving.profile or options.profile)
    return triton_repository(files, options.triton, serving)


def _int8_options(options: ExportOptions) -> Int8Options:
    return Int8Options(options.recipe, options.profile, options.max_drift, options.sensitivity)


def _engine_options(options: ExportOptions) -> EngineOptions:
    return EngineOptions(
        target=options.target,
        profile=options.profile,
        uint8=options.io is Io.UINT8,
        sm=options.sm,
        workspace_mib=options.workspace_mib,
        optimisation_level=options.optimisation_level,
        plugin=options.eigen is Eigen.PLUGIN,
    )
