"""What a device of the table needs and takes, held against what is found here: ``doctor --device NAME``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import DefianError
from ..hardware.device import GIBI, GIGA
from ..hardware.jetsons import LEAST_TENSORRT, TENSORRT, tensorrt_of
from ..manifest import read_manifest
from .engine import AREA as ENGINE
from .engine import check_engine
from .facts import Facts, Gpu, Package
from .findings import Finding, Level, Line
from .packages import RUNTIMES

if TYPE_CHECKING:
    from pathlib import Path

    from ..hardware.device import Device

AREA = "device"
RTX, SOURCE = "tensorrt-rtx", "runtime/hardware/ (docs/devices.md)"
ASSUMED = ("tensorrt", RTX, "pycuda", "cuda-bindings", *RUNTIMES)
"""Packages that are taken to be on the device, of versions that are not known."""


def _built_there(device: Device) -> str:
    return f"python export.py --device {device.name} ... (on the device itself)"


def device_line(device: Device, facts: Facts) -> Line:
    """What the device is and has, and what of it cannot be served by what is installed here."""
    major, minor = device.capability
    shared = " shared with the CPU" if device.unified else ""
    text = f"{device.name}: compute capability {major}.{minor}, {device.memory // GIBI} GiB{shared}, "
    text += f"{device.bandwidth / GIGA:g} GB/s, {device.power}; {_builder(device)}"
    return Line(AREA, text, tuple(_findings(device, facts)))


def _builder(device: Device) -> str:
    """Which TensorRT makes its engines, and where."""
    known = tensorrt_of(device)
    if device.is_jetson:
        brought = ", ".join(f"{version} with JetPack {jetpack}" for jetpack, version in known.items())
        return f"TensorRT {brought}, which builds on the device itself" if brought else "graphs alone run there"
    where = "TensorRT-RTX builds for it ahead of time, " if device.takes_rtx else ""
    return f"{where}TensorRT on the device itself"


def _findings(device: Device, facts: Facts) -> list[Finding]:
    found = []
    if device.is_jetson and not tensorrt_of(device):
        newest = device.jetpacks[-1]
        text = f"Engines need TensorRT {LEAST_TENSORRT}; its last JetPack, {newest}, has {TENSORRT[newest]}."
        cure = "python -m runtime PHOTO --engine GRAPH.onnx --provider cuda --out sr/ (graphs run; engines do not)"
        found.append(_finding(Level.RED, text, cure))
    rtx = facts.packages.get(RTX)
    if device.takes_rtx and rtx is None:
        text = "TensorRT-RTX, which builds engines for it on any machine, is not installed here."
        found.append(_finding(Level.YELLOW, text, "pip install 'defian-edge[rtx]'"))
    elif rtx is not None and not device.takes_rtx:
        text = f"TensorRT-RTX {rtx.version}, which is here, makes no engine that it could run."
        found.append(_finding(Level.YELLOW, text, _built_there(device)))
    return found


def check_engine_on(path: Path, device: Device) -> Line:
    """Whether a graph or an engine runs on the device, by its manifest and the table, as ``check_engine`` says it."""
    try:
        facts = read_manifest(path, verify=False).engine
    except DefianError:
        facts = None
    version = "" if facts is None else facts.version
    line = check_engine(path, facts_on(device, version))
    if facts is not None and facts.flavour == RTX and not device.takes_rtx:
        text = f"TensorRT-RTX loads no engine on compute capability {device.capability[0]}.{device.capability[1]}."
        refusal = Finding(Level.RED, ENGINE, text, _built_there(device), "rtx-capability", SOURCE)
        line = replace(line, findings=(*line.findings, refusal))
    return replace(line, text=f"{line.text}, on {device.name}")


def facts_on(device: Device, version: str = "") -> Facts:
    """What is known of the device without it: its GPU, what of its memory an engine may have, and JetPack's TensorRT.

    Args:
        device: of the table.
        version: of an engine's TensorRT; the device has it if one of its JetPacks brings it.
    """
    gpu = Gpu(
        name=device.name,
        source=SOURCE,
        capability=device.capability,
        free=device.room,
        total=device.memory,
        unified=device.unified,
    )
    packages = {name: Package(name, "") for name in ASSUMED}
    if brought := [TENSORRT[each] for each in device.jetpacks]:
        fitting = [each for each in brought if f"{version}.".startswith(f"{each}.")]
        packages["tensorrt"] = Package("tensorrt", version if fitting else brought[-1])
    return Facts(gpus=(gpu,), packages=packages)


def _finding(level: Level, text: str, cure: str) -> Finding:
    return Finding(level, AREA, text, cure, "device", SOURCE)
