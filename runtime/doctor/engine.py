"""Whether a graph or an engine runs on this device, by its manifest and the facts: nothing is loaded."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from ..building.graph_file import graph_beside
from ..engine.preflight import engine_facts, require_device, require_memory, require_version
from ..engine.trt_import import FLAVOURS
from ..errors import DefianError
from ..hardware.device import takes_rtx
from ..hardware.jetsons import LEAST_TENSORRT
from ..manifest import command_with, read_manifest
from .cures import command_first
from .findings import Finding, Level, Line
from .packages import RUNTIMES, is_older

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..manifest import Manifest
    from .facts import Facts, Gpu

AREA = "engine"
SOURCE = "runtime/engine/preflight.py"
EXPORT, RUN = "python export.py --model NETWORK --target TARGET", "python -m runtime PHOTO"


def check_engine(path: Path, facts: Facts) -> Line:
    """What the file is, and everything that keeps it from running here, each with what cures or rebuilds it."""
    try:
        manifest = read_manifest(path)
    except DefianError as error:
        return Line(AREA, str(path), (_refusal(error, f"{EXPORT} --out {quoted(path.parent)}"),))
    if manifest.engine is None:
        there = any(name in facts.packages for name in RUNTIMES)
        lacking = _finding("A graph needs ONNX Runtime, which is not installed.", "pip install 'defian-edge[cpu]'")
        return Line(AREA, f"{path.name}: graph of {manifest.model}, {manifest.precision}", () if there else (lacking,))
    text = f"{path.name}: {manifest.engine.flavour} {manifest.engine.version} engine of {manifest.model}, "
    return Line(AREA, f"{text}{manifest.precision}", tuple(_engine_findings(path, manifest, facts)))


def _engine_findings(path: Path, manifest: Manifest, facts: Facts) -> list[Finding]:
    try:
        told = engine_facts(manifest)
    except DefianError as error:
        return [_refusal(error, manifest.command)]
    if told.flavour not in FLAVOURS:
        text = f"Expected an engine of {' or '.join(FLAVOURS)}, found one whose manifest names {told.flavour!r}."
        return [_finding(text, manifest.command)]
    lacking, misfits, short = _lacking(manifest, told.flavour, facts), [], []
    version = facts.packages[told.flavour].version if told.flavour in facts.packages else ""
    if version:
        misfits += _refused(manifest, lambda: require_version(manifest, version))
    if not facts.gpus:
        text = f"{manifest.file}: expected an NVIDIA GPU, found none."
        graph = graph_beside(path, manifest)
        name = "GRAPH.onnx" if graph is None else quoted(graph)
        cure = f"{RUN} --engine {name} --out sr/ (the graph that it was built from runs on the CPU)"
        return [*lacking, *misfits, _finding(text, cure)]
    gpu = facts.gpus[0]
    if gpu.capability is not None:
        capability = gpu.capability
        misfits += _refused(manifest, lambda: require_device(manifest, gpu.name, capability))
    if gpu.free is not None and gpu.total is not None:
        free, total = gpu.free, gpu.total
        smaller = command_with(manifest.command, "--profile", "SMALLER")
        short = [
            replace(each, cure=f"{smaller} (for a smaller profile; or close other programs)")
            for each in _refused(manifest, lambda: require_memory(manifest, free, total))
        ]
    if misfits and not (lacking or short) and _is_built_again(path, manifest, told.flavour, version, gpu):
        again = f"{RUN} --engine {quoted(path)} --rebuild --out sr/ (builds it again from the graph beside it)"
        misfits = [replace(finding, cure=again) for finding in misfits]
    return [*lacking, *misfits, *short]


def _is_built_again(path: Path, manifest: Manifest, flavour: str, version: str, gpu: Gpu) -> bool:
    """Whether ``--rebuild`` would do: as :mod:`..building.rebuild` decides it, by what is known without TensorRT."""
    if is_older(version, LEAST_TENSORRT if flavour == "tensorrt" else "1"):
        return False
    if flavour != "tensorrt" and not (gpu.capability and takes_rtx(gpu.capability)):
        return False
    return graph_beside(path, manifest) is not None


def quoted(path: Path) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))


def _lacking(manifest: Manifest, flavour: str, facts: Facts) -> list[Finding]:
    """Packages without which the engine is not loaded; the one that loads it has the flavour's name."""
    _, extra = FLAVOURS[flavour]
    wanted = {flavour: extra, "pycuda": "device"}
    if manifest.plugins:
        wanted["cuda-bindings"] = "device"
    found = []
    for name, extra in wanted.items():
        if name not in facts.packages:
            cure = f"pip install 'defian-edge[{extra}]'"
            if name == "tensorrt" and facts.jetson is not None:
                cure = "sudo apt install tensorrt python3-libnvinfer"
            found.append(_finding(f"{manifest.file}: this engine needs {name}, which is not installed.", cure))
    return found


def _refused(manifest: Manifest, require: Callable[[], None]) -> list[Finding]:
    try:
        require()
    except DefianError as error:
        return [_refusal(error, manifest.command)]
    return []


def _refusal(error: DefianError, command: str) -> Finding:
    return _finding(error.message, command_first(error.hint, command))


def _finding(text: str, cure: str) -> Finding:
    return Finding(Level.RED, AREA, text, cure, "engine-fits", SOURCE)
