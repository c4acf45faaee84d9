"""The whole way once: checkpoint -> graph -> rewrites -> precisions -> drift gate -> engines -> manifests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.hard_images import faults_on_hard_images, hard_images
from defian_edge.calibration.drift.report import DriftReport, measure_drift
from defian_edge.calibration.photos import CalibrationSet, EvaluationPair, calibration_set, evaluation_pairs
from defian_edge.calibration.ranges.fp16_range import beyond_half
from defian_edge.export.engine.build import BuiltEngine, EngineOptions, build_engine, require_target
from defian_edge.export.engine.compiler import Target
from defian_edge.export.engine.lowering import Eigen, inline_functions
from defian_edge.export.engine.memory_plan import Step, can_measure_memory, rewrite_with_account
from defian_edge.export.graph import copy_of
from defian_edge.export.precision import Precision
from defian_edge.export.precision.fp16 import NOTHING, by_measurement
from defian_edge.export.precision.int8.variant import make_int8, needs_validation
from defian_edge.export.precision.shares import Realised, feature_names, realised
from defian_edge.export.precision.variants import Variant, make_half
from defian_edge.export.reference import reference_evaluations, reference_outputs
from defian_edge.export.rewrites import Rewrite, select
from defian_edge.export.trace.network import Io, trace
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import Checkpoint, load_checkpoint
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import require_writable_folder, write_whole
from defian_edge.runtime.manifest import EngineFacts, Manifest
from defian_edge.runtime.plugin import PLUGIN_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from defian_edge.export.engine.progress import BuildProgress
    from defian_edge.export.options import ExportOptions


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
        realised: what the graph really is, counted on the graph.
    """

    variant: Variant
    drift: DriftReport | None
    accepted: bool
    realised: Realised
    files: tuple[Path, ...] = ()
    engine: EngineFacts | None = None


@dataclass(frozen=True)
class ExportResult:
    """Everything one run did.

    Attributes:
        checkpoint: what was exported.
        steps: the rewrites and what each saved.
        artefacts: one per precision.
        half: the FP16 graph that INT8 competes with, exported or not; None without INT8.
    """

    checkpoint: Checkpoint
    steps: tuple[Step, ...]
    artefacts: tuple[Artefact, ...]
    half: Realised | None = None

    @property
    def passed(self) -> bool:
        """Whether every variant stayed within the drift budget and no guard fired."""
        return all(artefact.accepted for artefact in self.artefacts)


@dataclass(frozen=True)
class _Built:
    variant: Variant
    report: DriftReport | None
    accepted: bool
    realised: Realised
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
    graph = trace(inputs.checkpoint, options.io)
    steps = rewrite_with_account(
        graph,
        inputs.rewrites,
        options.profile,
        memory=options.rewrite_memory and can_measure_memory() and options.target is not Target.TENSORRT,
        say=say,
    )
    variants = [_variant(graph, precision, inputs, options, say) for precision in options.precisions]
    reports = _measure(variants, inputs, options, say)
    built: list[_Built] = []
    features = feature_names(graph)
    for variant, report in zip(variants, reports, strict=True):
        accepted = "refused" not in variant.calibration and (report is None or _within(report, options.max_drift))
        engine = None
        if accepted and options.target is not Target.ONNX:
            say(f"building the {variant.precision.value} engine")
            engine = _engine(variant, options, progress)
        counted = realised(variant.model, features, options.profile.optimum)
        built.append(_Built(variant, report, accepted, counted, engine))
    rewritten = tuple(step.name for step in steps if step.sites)
    artefacts = [_write(item, inputs.checkpoint, rewritten, options) for item in built]
    half = next((item.realised for item in built if item.variant.precision is Precision.FP16), None)
    if half is None and Precision.INT8 in options.precisions:
        half = realised(make_half(graph), features, options.profile.optimum)
    return ExportResult(inputs.checkpoint, tuple(steps), tuple(artefacts), half)


def _inputs(options: ExportOptions) -> _Inputs:
    if options.io is Io.FLOAT and (Precision.INT8 in options.precisions or options.max_drift is not None):
        raise DefianError(
            "--io float is for parity tests of FP32 and FP16: INT8 ranges and drift are measured on uint8 images.",
            "Leave --io float out, or ask for --precision fp32 or fp16 without --max-drift.",
        )
    checkpoint = load_checkpoint(resolve_model(options.model))
    rewrites = () if options.plain else select(options.without)
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
        beyond = beyond_half(graph, images, options.profile.largest_pixels) if measured else NOTHING
        variant = Variant(precision, make_half(graph, beyond), {}, beyond, by_measurement(graph, beyond))
    if options.eigen is Eigen.INLINE:
        inline_functions(variant.model)
    return variant


def _measure(
    variants: Sequence[Variant], inputs: _Inputs, options: ExportOptions, say: Callable[[str], None]
) -> list[DriftReport | None]:
    if options.io is Io.FLOAT:
        return [None] * len(variants)
    say(f"running the PyTorch reference on {len(inputs.pairs)} images")
    references = reference_evaluations(inputs.checkpoint.network(), (pair.lr for pair in inputs.pairs))
    hard = hard_images()
    hard_references = dict(zip(hard, reference_outputs(inputs.checkpoint.network(), hard.values()), strict=True))
    reports: list[DriftReport | None] = []
    for variant in variants:
        name = variant.precision.value
        say(f"measuring the drift of {name}")
        evaluator = GraphEvaluator(variant.model)
        report = measure_drift(name, evaluator, references, inputs.pairs, inputs.checkpoint.architecture.scale)
        reports.append(replace(report, hard=faults_on_hard_images(evaluator, hard_references)))
    return reports


def _within(report: DriftReport, budget: float | None) -> bool:
    """A guard that fired always refuses; a budget of None accepts any finite drift."""
    return not report.faults and not report.hard and (budget is None or not report.over(budget))


def _engine(variant: Variant, options: ExportOptions, progress: Callable[[str], BuildProgress] | None) -> BuiltEngine:
    display = None if progress is None else progress(f"{variant.precision.value} engine")
    return build_engine(variant.serialise(), _engine_options(options), display)


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
        return Artefact(variant, report, built.accepted, built.realised, ranking)
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
    return Artefact(variant, report, built.accepted, built.realised, (*files, *ranking), facts)


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
