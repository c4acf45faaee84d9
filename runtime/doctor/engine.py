"""Whether a graph or an engine runs on this device, by its manifest and the facts: nothing is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.preflight import engine_facts, require_device, require_memory, require_version
from ..engine.trt_import import FLAVOURS
from ..errors import DefianError
from ..manifest import read_manifest
from .findings import Finding, Level, Line
from .packages import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..manifest import Manifest
    from .facts import Facts

AREA = "engine"
SOURCE = "runtime/engine/preflight.py"


def check_engine(path: Path, facts: Facts) -> Line:
    """What the file is, and everything that keeps it from running here, each with what cures or rebuilds it."""
    try:
        manifest = read_manifest(path)
    except DefianError as error:
        return Line(AREA, str(path), (_finding(error.message, error.hint),))
    if manifest.engine is None:
        there = any(name in facts.packages for name in RUNTIMES)
        lacking = _finding("A graph needs ONNX Runtime, which is not installed.", "pip install 'defian-edge[cpu]'")
        return Line(AREA, f"{path.name}: graph of {manifest.model}, {manifest.precision}", () if there else (lacking,))
    text = f"{path.name}: {manifest.engine.flavour} {manifest.engine.version} engine of {manifest.model}, "
    return Line(AREA, f"{text}{manifest.precision}", tuple(_engine_findings(manifest, facts)))


def _engine_findings(manifest: Manifest, facts: Facts) -> list[Finding]:
    try:
        told = engine_facts(manifest)
    except DefianError as error:
        return [_finding(error.message, error.hint)]
    if told.flavour not in FLAVOURS:
        text = f"Expected an engine of {' or '.join(FLAVOURS)}, found one whose manifest names {told.flavour!r}."
        return [_finding(text, f"Rebuild it: {manifest.command}")]
    found = _lacking(manifest, told.flavour, facts)
    version = facts.packages[told.flavour].version if told.flavour in facts.packages else ""
    if version:
        found += _refused(lambda: require_version(manifest, version))
    if not facts.gpus:
        return [*found, _finding(f"{manifest.file}: expected an NVIDIA GPU, found none.", "nvidia-smi -L")]
    gpu = facts.gpus[0]
    if gpu.capability is not None:
        capability = gpu.capability
        found += _refused(lambda: require_device(manifest, gpu.name, capability))
    if gpu.free is not None and gpu.total is not None:
        free, total = gpu.free, gpu.total
        found += _refused(lambda: require_memory(manifest, free, total))
    return found


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


def _refused(require: Callable[[], None]) -> list[Finding]:
    try:
        require()
    except DefianError as error:
        return [_finding(error.message, error.hint)]
    return []


def _finding(text: str, cure: str) -> Finding:
    return Finding(Level.RED, AREA, text, cure or "Build it again with export.py.", "engine-fits", SOURCE)
