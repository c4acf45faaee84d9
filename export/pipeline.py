"""The whole way once: checkpoint -> graph -> rewrites -> precisions -> drift gate -> engines -> manifests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from defian_edge.calibration.drift.hard_images import hard_images
from defian_edge.calibration.photos import CalibrationSet, EvaluationPair, calibration_set, evaluation_pairs
from defian_edge.calibration.ranges.fp16_range import beyond_fp16
from defian_edge.export.engine.build import BuiltEngine, EngineOptions, build_engine, require_target
from defian_edge.export.engine.compiler import ANY, CURRENT, Target
from defian_edge.export.engine.kernels import planned_traffic
from defian_edge.export.engine.lowering import Eigen, inline_functions
from defian_edge.export.engine.memory_plan import Step, can_measure_memory, rewrite_with_account
from defian_edge.export.graph import copy_of
from defian_edge.export.measure import measure
from defian_edge.export.precision import Precision
from defian_edge.export.precision.fp16 import NOTHING, by_measurement
from defian_edge.export.precision.int8.variant import make_int8, needs_validation
from defian_edge.export.precision.shares import GraphShares, feature_names, shares_of
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.rewrites import Rewrite, Use, select
from defian_edge.export.trace.network import Io, trace
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import Checkpoint, load_checkpoint
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import require_writable_folder, write_whole
from defian_edge.runtime.manifest import EngineFacts, Manifest
from defian_edge.runtime.plugin import PLUGIN_KEY
from defian_edge.runtime.producer import BUILT_BY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx_ir as ir

    from defian_edge.calibration.drift.report import DriftReport
    from defian_edge.export.engine.progress import BuildProgress
    from defian_edge.export.options import ExportOptions
    from defian_edge.export.pack.write import WrittenPack
    from defian_edge.runtime.verify.promise import Promise


RANGE_PHOTOS = 8
"""FP16's range is measured on so many of the images that drift is measured on, and on hard ones."""


@dataclass(frozen=True)
class Artefact:
    """One variant of the network and what became of it.

    Attributes:
        variant: the graph in its precision.
        drift: measured against the PyTorch reference; None with float I/O.
        accepted: the drift is within the budget, or there is none. Refused variants are not written.
        files: what was written, graph first; of a refused variant the sensitivity ranking at most.
        engine: what the compiler said; None if there is no engine.
        shares: what the graph really is, counted on the graph.
    """

    variant: Variant
    drift: DriftReport | None
    accepted: bool
    shares: GraphShares
    files: tuple[Path, ...] = ()
    engine: EngineFacts | None = None


@dataclass(frozen=True)
class ExportResult:
    """Everything one run did.

    Attributes:
        checkpoint: what was exported.
        steps: the rewrites and what each saved.
        artefacts: one per precision.
        fp16: the FP16 graph that INT8 competes with, exported or not; None without INT8.
        pack: what a device checks the artefacts with; None with float I/O, or if none was wanted or nothing accepted.
    """

    checkpoint: Checkpoint
    steps: tuple[Step, ...]
    artefacts: tuple[Artefact, ...]
    fp16: GraphShares | None = None
    pack: WrittenPack | None = None

    @property
    def passed(self) -> bool:
        """Whether every variant stayed within the drift budget and no guard fired."""
        return all(artefact.accepted for artefact in self.artefacts)


@dataclass(frozen=True)
class _Built:
    variant: Variant
    report: DriftReport | None
    promise: Promise | None
    accepted: bool
    shares: GraphShares
    engine: BuiltEngine | None


@dataclass(frozen=True)
class _Inputs:
    checkpoint: Checkpoint
    rewrites: tuple[Rewrite, ...]
    pairs: list[EvaluationPair]
    patches: CalibrationSet | None


def run_export(
    options: ExportOptions,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[str], BuildProgress] | None = None,
) -> ExportResult:
    """Export a checkpoint as the options say.

    Args:
        options: what to make.
        say: told what is being done, one short line at a time.
        progress: makes a progress display for each engine build.

    Raises:
        DefianError: an input is missing or unusable. All inputs are looked at before the work starts, and
            nothing is written before everything is measured and built.
    """
    inputs = _inputs(options)
    say(f"tracing {inputs.checkpoint.architecture}")
    graphs = _rewritten(inputs, options, say)
    steps = graphs.steps
    variants = [_variant(graphs.of(precision), precision, inputs, options, say) for precision in options.precisions]
    pack, measured = measure(variants, inputs.checkpoint, inputs.pairs, options, say)
    built: list[_Built] = []
    for variant, found in zip(variants, measured, strict=True):
        report = found.report
        accepted = "refused" not in variant.calibration and (report is None or _within(report, options.max_drift))
        engine = None
        if accepted and options.target is not Target.ONNX:
            say(f"building the {variant.precision.value} engine")
            engine = _engine(variant, options, progress)
        counted = shares_of(variant.model, feature_names(graphs.of(variant.precision)), options.profile.optimum)
        built.append(_Built(variant, report, found.promise, accepted, counted, engine))
    if not any(item.accepted for item in built):
        pack = None
    if pack is not None:
        write_whole(options.out / pack.name, pack.content)
    artefacts = [_write(item, inputs.checkpoint, graphs.names(item.variant.precision), options) for item in built]
    fp16 = next((item.shares for item in built if item.variant.precision is Precision.FP16), None)
    if fp16 is None and Precision.INT8 in options.precisions:
        fp16 = shares_of(make_fp16(graphs.whole), feature_names(graphs.whole), options.profile.optimum)
    return ExportResult(inputs.checkpoint, steps, tuple(artefacts), fp16, pack)


@dataclass(frozen=True)
class _Graphs:
    """The FP32 graph with all chosen rewrites, the one with the portable ones among them, and the account of all.

    INT8 is made of the portable one. The bytes that the others save are FP16 maps and their place is the weights:
    Q/DQ needs weights that are constant, not scaled by a gate (docs/rewrites.md has what it would be worth).
    """

    whole: ir.Model
    portable: ir.Model
    steps: tuple[Step, ...]
    own: frozenset[str]

    def of(self, precision: Precision) -> ir.Model:
        return self.portable if precision is Precision.INT8 else self.whole

    def names(self, precision: Precision) -> tuple[str, ...]:
        """Names of the rewrites that changed the graph of a precision."""
        applied = (step.name for step in self.steps if step.sites)
        return tuple(name for name in applied if precision is not Precision.INT8 or name not in self.own)


def _rewritten(inputs: _Inputs, options: ExportOptions, say: Callable[[str], None]) -> _Graphs:
    memory = options.rewrite_memory and can_measure_memory() and options.target is not Target.TENSORRT
    whole = trace(inputs.checkpoint, options.io)
    everywhere = [rewrite for rewrite in inputs.rewrites if Use.PORTABLE in rewrite.uses]
    engines = [rewrite for rewrite in inputs.rewrites if Use.PORTABLE not in rewrite.uses]
    steps = rewrite_with_account(whole, everywhere, options.profile, memory=memory, say=say)
    portable = copy_of(whole)
    if engines:
        steps += rewrite_with_account(whole, engines, options.profile, memory=memory, say=say, start=steps[-1])[1:]
    return _Graphs(whole, portable, tuple(steps), frozenset(rewrite.name for rewrite in engines))


def _inputs(options: ExportOptions) -> _Inputs:
    if options.io is Io.FLOAT and (Precision.INT8 in options.precisions or options.max_drift is not None):
        raise DefianError(
            "--io float is for parity tests of FP32 and FP16: INT8 ranges and drift are measured on uint8 images.",
            "Leave --io float out, or ask for --precision fp32 or fp16 without --max-drift.",
        )
    checkpoint = load_checkpoint(resolve_model(options.model))
    rewrites = () if options.plain else select(options.without, options.use, options.profile.maximum[0])
    scale = checkpoint.architecture.scale
    pairs = [] if options.io is Io.FLOAT else evaluation_pairs(scale, options.dataset, options.lr, options.hr)
    patches = None
    if Precision.INT8 in options.precisions:
        patches = calibration_set(options.calibration, scale, options.patches)
        for _ in patches:
            pass  # a photo that cannot be used is found now, not after the trace
        if needs_validation(options):
            patches.split()
    require_writable_folder(options.out)
    if options.target is not Target.ONNX:
        require_target(_engine_options(options))
    return _Inputs(checkpoint, rewrites, pairs, patches)


def _variant(
    graph: ir.Model,
    precision: Precision,
    inputs: _Inputs,
    options: ExportOptions,
    say: Callable[[str], None],
) -> Variant:
    images = [*(pair.lr for pair in inputs.pairs[:RANGE_PHOTOS]), *hard_images().values()]
    if precision is Precision.INT8 and inputs.patches is not None:
        variant = make_int8(graph, inputs.checkpoint, inputs.patches, options, images, say)
    elif precision is Precision.FP32:
        variant = Variant(precision, copy_of(graph))
    else:
        say("measuring what leaves the range of FP16")
        measured = options.io is Io.UINT8
        beyond = beyond_fp16(graph, images, options.profile.largest_pixels) if measured else NOTHING
        variant = Variant(precision, make_fp16(graph, beyond), {}, beyond, by_measurement(graph, beyond))
    if options.eigen is Eigen.INLINE:
        inline_functions(variant.model)
    return variant


def _within(report: DriftReport, budget: float | None) -> bool:
    """A guard that fired always refuses; a budget of None accepts any finite drift."""
    return not report.faults and not report.hard and (budget is None or not report.over(budget))


def _engine(variant: Variant, options: ExportOptions, progress: Callable[[str], BuildProgress] | None) -> BuiltEngine:
    display = None if progress is None else progress(f"{variant.precision.value} engine")
    graph, engine_options = variant.serialise(), _engine_options(options)
    built = build_engine(graph, engine_options, display)
    if options.target is not Target.TENSORRT_RTX or options.sm in (ANY, CURRENT):
        return built  # their logs list no kernels with sizes, or this machine may lack the GPU
    traffic = planned_traffic(
        graph,
        options.profile.maximum,
        sm=int(options.sm or 0),
        uint8=engine_options.uint8,
        plugin=engine_options.plugin,
    )
    if traffic is None:
        return built
    return replace(built, facts=replace(built.facts, kernels=traffic.kernels, moved_bytes=traffic.bytes))


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


def _write(built: _Built, checkpoint: Checkpoint, rewrites: tuple[str, ...], options: ExportOptions) -> Artefact:
    variant, report, engine = built.variant, built.report, built.engine
    label = f"{checkpoint.name}.plain" if options.plain else checkpoint.name
    ranking = _write_ranking(variant, f"{label}.{variant.precision.value}", options.out)
    if not built.accepted:
        return Artefact(variant, report, built.accepted, built.shares, ranking)
    content = variant.serialise()
    manifest = Manifest(
        file=f"{label}.{variant.precision.value}.onnx",
        sha256=hashlib.sha256(content).hexdigest(),
        model=checkpoint.name,
        scale=checkpoint.architecture.scale,
        precision=variant.precision.value,
        io=options.io.value,
        checkpoint_sha256=checkpoint.sha256,
        command=options.command,
        rewrites=rewrites,
        calibration=variant.calibration,
        drift={} if report is None else report.summary(),
        eigen=options.eigen.value,
        built_by=BUILT_BY,
        use=(Use.PORTABLE if variant.precision is Precision.INT8 else options.use).value,
        reference={} if built.promise is None else built.promise.as_json(),
    )
    files = [_write_with_manifest(manifest, content, options.out)]
    if engine is not None:
        target = replace(
            manifest,
            file=f"{label}.{variant.precision.value}.{options.target.value}.engine",
            sha256=hashlib.sha256(engine.plan).hexdigest(),
            parent_sha256=manifest.sha256,
            profile=options.profile,
            engine=engine.facts,
            plugins=(PLUGIN_KEY,) if options.eigen is Eigen.PLUGIN else (),
        )
        files.append(_write_with_manifest(target, engine.plan, options.out))
    facts = None if engine is None else engine.facts
    return Artefact(variant, report, built.accepted, built.shares, (*files, *ranking), facts)


def _write_ranking(variant: Variant, name: str, folder: Path) -> tuple[Path, ...]:
    """What ``--sensitivity`` found, which says why a variant was refused as well as why it was not."""
    if not variant.calibration.get("sensitivity"):
        return ()
    path = folder / f"{name}.sensitivity.json"
    write_whole(path, (json.dumps(variant.calibration["sensitivity"], indent=2) + "\n").encode())
    return (path,)


def _write_with_manifest(manifest: Manifest, content: bytes, folder: Path) -> Path:
    path = folder / manifest.file
    write_whole(path, content)
    manifest.write(folder)
    return path
