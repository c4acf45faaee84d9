"""All facts, gathered at once: what takes longest runs beside the rest."""

from __future__ import annotations

import os
import platform
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..device.context import kernel_driver
from ..device.tegra import find_tegrastats
from .caches import find_cache
from .facts import Driver, Facts, Gpu, Machine, Media
from .gpus import with_cuda, with_jetson
from .jetson import find_jetson
from .nvidia_smi import driver_of, gpus_of
from .packages import find_packages
from .probe import ENCODERS
from .programs import Said, first_line, said
from .steps import CRASHED, DONE, FAILED, Step, run_steps

if TYPE_CHECKING:
    from .facts import Package

PROBE_SECONDS = 10.0
"""What the child process is given: CUDA starts within one second, and on a machine with eight GPUs within three."""
ASKED = 5
"""How many programs run at once: the child process, tegrastats, nvidia-smi, nvpmodel, ffmpeg."""
DEVICE_FILES = ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0", "/dev/dxg")
PCI = Path("/sys/bus/pci/devices")
NVIDIA = "0x10de"
DISPLAYS = ("0x0300", "0x0302")
"""PCI classes of graphics cards and of those without a display."""
CONTAINERS = ("/.dockerenv", "/run/.containerenv")


def gather() -> Facts:
    """What there is on this device. Nothing is written, and no native library is loaded into this process.

    All programs run at once, so that what hangs costs the longest limit, and not the sum of them.
    """
    with ThreadPoolExecutor(ASKED) as pool:
        probing = pool.submit(run_steps, "probe", (), PROBE_SECONDS)
        tegra = pool.submit(_tegrastats)
        smi = pool.submit(said, "nvidia-smi", "-q")
        power = pool.submit(said, "nvpmodel", "-q")
        ffmpeg = pool.submit(find_program)
        packages = find_packages()
        cache = find_cache()
        line = tegra.result()
        jetson = find_jetson(line, power.result())
        steps = {step.name: step for step in probing.result()}
        listed, why = nvml_from(steps.get("nvml"))
        asked = Said("") if listed else smi.result()
        program = ffmpeg.result()
    listed = listed or gpus_of(asked.output)
    driver, devices = driver_from(steps.get("driver"), asked, why)
    gpus: list[Gpu] = with_cuda(listed, devices)
    if jetson is not None:
        gpus = with_jetson(gpus, jetson, line)
    return Facts(
        machine=find_machine(),
        driver=driver,
        gpus=tuple(gpus),
        jetson=jetson,
        packages=with_probe(packages, steps),
        cache=cache,
        media=media_from(steps.get("av"), program),
        crashes=crashes_of(steps),
    )


def find_machine() -> Machine:
    """The interpreter and where it runs."""
    return Machine(
        python=sys.version_info[:3],
        executable=sys.executable,
        system=platform.system(),
        machine=platform.machine(),
        environment=_environment(),
        container=any(Path(path).exists() for path in CONTAINERS),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        library_path=os.environ.get("LD_LIBRARY_PATH", ""),
    )


def _environment() -> str:
    if sys.prefix == sys.base_prefix:
        return "system"
    try:
        told = Path(sys.prefix, "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "virtual environment"
    shared = re.search(r"^include-system-site-packages *= *true", told, re.MULTILINE | re.IGNORECASE)
    return "virtual environment with the system's packages" if shared else "virtual environment"


def nvml_from(step: Step | None) -> tuple[list[Gpu], str]:
    """The GPUs that NVML lists, and why it lists none."""
    if step is None or step.status != DONE:
        return [], ""
    told = [Gpu(**each) for each in step.value["gpus"]]
    return [
        replace(gpu, capability=None if gpu.capability is None else tuple(gpu.capability), throttles=(*gpu.throttles,))
        for gpu in told
    ], step.value["why"]


def driver_from(step: Step | None, smi: Said, nvml: str) -> tuple[Driver, list[dict[str, Any]]]:
    """The driver, and the devices that CUDA lists: from the child process, nvidia-smi, and NVML's words."""
    told: dict[str, Any] = step.value if step is not None and step.status == DONE else {}
    version, cuda = driver_of(smi.output)
    kernel = kernel_driver()
    number = told.get("cuda")
    found = re.search(r"\b(\d{3}\.\d+(?:\.\d+)?)\b", kernel)
    return Driver(
        hardware=has_hardware(),
        kernel=found[1] if found else version,
        loaded=bool(kernel),
        library=told.get("library"),
        cuda=(number // 1000, number % 1000 // 10) if number else cuda,
        status=told.get("status"),
        nvml=nvml or ("" if smi.output or "no program" in smi.why else smi.why),
    ), told.get("devices", [])


def has_hardware() -> bool:
    """Whether an NVIDIA GPU is there: a device file, or an entry of the PCI bus, which needs no driver."""
    if any(Path(path).exists() for path in DEVICE_FILES):
        return True
    return any(
        _text(entry / "vendor") == NVIDIA and _text(entry / "class").startswith(DISPLAYS) for entry in PCI.glob("*")
    )


def with_probe(packages: dict[str, Package], steps: dict[str, Step]) -> dict[str, Package]:
    """The packages, with what loading pycuda and PyAV showed."""
    found = dict(packages)
    for name in ("pycuda", "av"):
        step = steps.get(name)
        if step is None or name not in found:
            continue
        if step.status in (FAILED, CRASHED):
            found[name] = replace(found[name], error=step.reason)
        elif name == "pycuda" and step.status == DONE:
            found[name] = replace(found[name], cuda=step.value[0])
    return found


def crashes_of(steps: dict[str, Step]) -> dict[str, str]:
    """What ended a child process, and why asking the driver came to nothing: its rules have no other word of it."""
    return {
        name: step.reason
        for name, step in steps.items()
        if step.status == CRASHED or (name == "driver" and step.status == FAILED)
    }


def media_from(step: Step | None, program: tuple[str, tuple[str, ...]]) -> Media:
    """FFmpeg as PyAV has it, and the program's version and encoders."""
    version, encoders = program
    if step is None or step.status != DONE:
        failed = step is not None and step.status in (FAILED, CRASHED)
        return Media(
            error=step.reason if failed and step is not None else "", program=version, program_encoders=encoders
        )
    return Media(step.value["libavcodec"], tuple(step.value["encoders"]), "", version, encoders)


def find_program() -> tuple[str, tuple[str, ...]]:
    """Version of the program ``ffmpeg``, and its encoders of those that count; empty without it."""
    version = re.match(r"ffmpeg version (\S+)", said("ffmpeg", "-version").output)
    if version is None:
        return "", ()
    return version[1], encoders_of(said("ffmpeg", "-hide_banner", "-encoders").output)


def encoders_of(text: str) -> tuple[str, ...]:
    """The encoders of ``ENCODERS`` in what ``ffmpeg -encoders`` lists: six flags, a name, and what it is."""
    names = set(re.findall(r"^ V[.FSXBD]{5} (\S+)", text, re.MULTILINE))
    return tuple(name for name in ENCODERS if name in names)


def _tegrastats() -> str:
    program = find_tegrastats()
    return first_line(program, "--interval", "200") if program else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
