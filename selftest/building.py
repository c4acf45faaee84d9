"""Engines of the shared graphs, built on the card, their manifests beside them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defian_edge.benchmark.measure.memory import measure_memory
from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.lowering import Eigen
from defian_edge.runtime.errors import DefianError, MissingPackageError
from defian_edge.runtime.files import sha256_of
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.plugin import PLUGIN_KEY
from defian_edge.runtime.producer import BUILT_BY
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.session import open_session
from defian_edge.selftest.engines import against_emulation, bench
from defian_edge.selftest.pictures import ENGINE, MODELS, PROFILE, SIZES, graphs_of, scale_of
from defian_edge.selftest.protocol import CannotRun, out_of_memory

if TYPE_CHECKING:
    from defian_edge.export.engine.compiler import Target
    from defian_edge.selftest.protocol import Record, Settings


def build(graph: Path, folder: Path, target: Target, sm: int | str | None, eigen: Eigen) -> Path:
    """One engine of a graph; its graph and manifests lie in the same folder.

    Raises:
        DefianError: the compiler refuses it.
    """
    options = EngineOptions(target, ShapeProfile.parse(PROFILE), uint8=True, sm=sm, plugin=eigen is Eigen.PLUGIN)
    path = write_engine(graph, folder / f"{graph.stem}.{eigen.value}.{target.value}.engine", options)
    (folder / graph.name).write_bytes(graph.read_bytes())
    read_manifest(graph).write(folder)
    return path


def write_engine(graph: Path, path: Path, options: EngineOptions) -> Path:
    """Build a graph's engine into ``path``, its manifest beside it, as ``export.py`` does with a graph just made.

    Raises:
        DefianError: the compiler refuses it.
    """
    built = build_engine(graph.read_bytes(), options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(built.plan)
    manifest = replace(
        read_manifest(graph),
        file=path.name,
        sha256=hashlib.sha256(built.plan).hexdigest(),
        parent_sha256=sha256_of(graph),
        profile=options.profile,
        engine=built.facts,
        built_by=BUILT_BY,
        eigen=(Eigen.PLUGIN if options.plugin else Eigen.FUNCTION).value,
        plugins=(PLUGIN_KEY,) if options.plugin else (),
    )
    manifest.write(path.parent)
    return path


def prove(settings: Settings, record: Record, target: Target, sm: int | str | None) -> None:
    """Build, compare the pictures, then time: FP16 first, each model's plain graph beside the rewritten ones."""
    folder = Path(settings.folder) / target.value
    figures: dict[str, Any] = {}
    refused: list[str] = []
    for model in MODELS:
        built: list[Path] = []
        for graph in graphs_of(settings, model, first="fp16"):
            both = graph.name == f"{model}.{ENGINE}.fp16.onnx"
            lowerings = (Eigen.FUNCTION, Eigen.PLUGIN) if both else (Eigen.FUNCTION,)
            for eigen in lowerings:
                try:
                    path = build(graph, folder, target, sm, eigen)
                except MissingPackageError:
                    raise
                except DefianError as error:
                    refused.append(str(error))
                    record.note(f"refused: {graph.name}, {eigen.value}: {error}")
                    continue
                try:
                    with open_session(path) as session:
                        found = against_emulation(settings, record, path.name, graph, session, scale_of(model))
                        record.note(f"{path.name}: {session.describe()}")
                except MissingPackageError:
                    raise
                except DefianError as error:
                    path.unlink()
                    refused.append(str(error))
                    record.note(f"refused: {path.name}: {error}")
                    continue
                facts = read_manifest(path).engine
                built.append(path)
                figures[path.name] = found | {
                    "build_seconds": facts and facts.build_seconds,
                    "planned_bytes": facts and facts.activation_bytes,
                }
                record.figure("engines", figures)
        if built:
            record.figure(f"bench {model}", bench(settings, record, built, scale_of(model)))
            record.figure(f"memory {model}", _memory(record, built))
    if refused and not figures and all(out_of_memory(said) for said in refused):
        raise CannotRun(refused[0])
    record.check("engines that run", len(figures), at_least=1)
    record.check("graphs refused", len(refused), at_most=0)


def _memory(record: Record, engines: list[Path]) -> dict[str, Any]:
    """Bytes on the device, loaded and at their peak, each engine in a process of its own."""
    found = {}
    for engine in engines:
        try:
            measured = measure_memory(str(engine), (1, *SIZES[2]), "cuda")
        except DefianError as error:
            record.note(f"refused: the memory of {engine.name}: {error}")
            continue
        found[engine.name] = None if measured.device is None else asdict(measured.device)
    return found


def engine_for_frames(settings: Settings) -> Path | None:
    """A FP16 engine that an earlier stage built and ran, TensorRT-RTX's first; None if there is none."""
    found = sorted(Path(settings.folder).glob(f"*/defian-s-x2.{ENGINE}.fp16.function.*.engine"), reverse=True)
    return found[0] if found else None
