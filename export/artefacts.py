"""What an export makes: its variants, and the files that are written of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from defian_edge.export.engine.lowering import Eigen
from defian_edge.export.precision import Precision
from defian_edge.export.rewrites import Use
from defian_edge.runtime.files import write_whole
from defian_edge.runtime.manifest import EngineFacts, Manifest
from defian_edge.runtime.plugin import PLUGIN_KEY
from defian_edge.runtime.producer import BUILT_BY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from defian_edge.calibration.drift.report import DriftReport
    from defian_edge.calibration.drift.verdict import DriftVerdict
    from defian_edge.export.engine.build import BuiltEngine
    from defian_edge.export.engine.memory_plan import Step
    from defian_edge.export.measure import Measured
    from defian_edge.export.options import ExportOptions
    from defian_edge.export.pack.write import WrittenPack
    from defian_edge.export.precision.shares import GraphShares
    from defian_edge.export.precision.variants import Variant
    from defian_edge.export.source.base import SourceNetwork
    from defian_edge.export.triton.repository import ServedModel
    from defian_edge.runtime.profile import ShapeProfile


@dataclass(frozen=True)
class Artefact:
    """One variant of the network and what became of it.

    Attributes:
        variant: the graph in its precision.
        drift: measured against the network itself; None with float I/O.
        verdict: whether the drift is within the budget, and why not. Refused variants are not written.
        files: what was written, graph first; of a refused variant the sensitivity ranking at most.
        engine: what the compiler said; None if there is no engine.
        shares: what the graph really is, counted on the graph.
    """

    variant: Variant
    drift: DriftReport | None
    verdict: DriftVerdict
    shares: GraphShares
    files: tuple[Path, ...] = ()
    engine: EngineFacts | None = None

    @property
    def file(self) -> Path | None:
        """The engine, or the graph where there is none; None of a refused variant."""
        return next((path for path in reversed(self.files) if path.suffix in (".onnx", ".engine")), None)

    @property
    def accepted(self) -> bool:
        """Whether no guard fired and the drift is within the budget, or there is none."""
        return self.verdict.passed


@dataclass(frozen=True)
class ExportResult:
    """Everything one run did.

    Attributes:
        network: what was exported.
        steps: the rewrites and what each saved.
        artefacts: one per precision.
        profile: shapes that it was done for: those of the options, or the one that the network takes.
        fp16: the FP16 graph that INT8 competes with, exported or not; None without INT8.
        pack: what a device checks the artefacts with; None with float I/O, or if none was wanted or nothing accepted.
        pack_path: where it was written.
        served: what was added to the Triton repository, in the order of the artefacts.
        timings: seconds that the steps of the export took, by name and in order.
        advice: which precision is recommended for the device of the options, and why; empty without one.
    """

    network: SourceNetwork
    steps: tuple[Step, ...]
    artefacts: tuple[Artefact, ...]
    profile: ShapeProfile
    fp16: GraphShares | None = None
    pack: WrittenPack | None = None
    pack_path: Path | None = None
    served: tuple[ServedModel, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    advice: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that was written but the manifests, each of which lies beside its file as ``<file>.json``."""
        pack = () if self.pack_path is None else (self.pack_path,)
        return (*(path for artefact in self.artefacts for path in artefact.files), *pack)

    @property
    def drift(self) -> dict[str, DriftReport]:
        """Precision -> drift against the network itself; nothing with float I/O."""
        measured = ((each.variant.precision.value, each.drift) for each in self.artefacts)
        return {name: report for name, report in measured if report is not None}

    @property
    def verdicts(self) -> dict[str, DriftVerdict]:
        """Precision -> whether it was accepted, and why not."""
        return {each.variant.precision.value: each.verdict for each in self.artefacts}

    @property
    def passed(self) -> bool:
        """Whether every variant stayed within the drift budget and no guard fired."""
        return all(artefact.accepted for artefact in self.artefacts)


@dataclass(frozen=True)
class Built:
    """A variant that is finished and not yet written."""

    variant: Variant
    measured: Measured
    verdict: DriftVerdict
    shares: GraphShares
    engine: BuiltEngine | None


def write(built: Built, network: SourceNetwork, rewrites: tuple[str, ...], options: ExportOptions) -> Artefact:
    """Write graph, engine, manifests and ranking of a variant; of a refused one the ranking alone.

    Args:
        built: what is written.
        network: which it is of.
        rewrites: names of those that changed its graph.
        options: where to, and what the manifests say of it.
    """
    variant, engine = built.variant, built.engine
    report, promise = built.measured.report, built.measured.promise
    label = f"{network.name}.plain" if options.plain else network.name
    ranking = _write_ranking(variant, f"{label}.{variant.precision.value}", options.out)
    if not built.verdict.passed:
        return Artefact(variant, report, built.verdict, built.shares, ranking)
    content = variant.serialise()
    manifest = Manifest(
        file=f"{label}.{variant.precision.value}.onnx",
        sha256=hashlib.sha256(content).hexdigest(),
        model=network.name,
        scale=network.scale,
        precision=variant.precision.value,
        io=options.io.value,
        checkpoint_sha256=network.sha256,
        command=options.command,
        rewrites=rewrites,
        calibration=variant.calibration,
        drift={} if report is None else report.summary(),
        eigen=options.eigen.value,
        built_by=BUILT_BY,
        use=(Use.PORTABLE if variant.precision is Precision.INT8 else options.use).value,
        reference={} if promise is None else promise.as_json(),
        profile=network.fixed_profile,
        reach=network.reach,
        source=network.source,
        mixed=variant.mixed,
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
    return Artefact(variant, report, built.verdict, built.shares, (*files, *ranking), facts)


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
