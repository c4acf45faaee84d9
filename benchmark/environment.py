"""What a result was measured on: enough to know whether two results may be compared."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from defian_edge.benchmark.gpu.energy import NOTHING, open_meter
from defian_edge.runtime.device.tegra import gpu_clocks

PACKAGES = ("defian-edge", "numpy", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx")
GPU_QUERY = (
    *("name", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.limit", "pstate"),
    *("persistence_mode", "temperature.gpu"),
)
BOARD = Path("/proc/device-tree/model")


def use_threads(threads: int) -> None:
    """Let PyTorch compute with this many CPU threads; 0 leaves it its own choice."""
    if threads and _version("torch") is not None:
        import torch

        torch.set_num_threads(threads)


def describe_environment(threads: int = 0) -> dict[str, Any]:
    """Machine, software and commit, in JSON's types; what cannot be found out is None.

    Args:
        threads: what the sessions of ONNX Runtime are given, 0 for its own choice.
    """
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cores": _usable_cores(),
        "load_average_1min": _load(),
        "threads": _threads(threads),
        "packages": {name: _version(name) for name in PACKAGES},
        "board": _board(),
        "gpu": _gpu(),
        "gpu_clocks_mhz": gpu_clocks(),
        "power_mode": _power_mode(),
        "power_source": open_meter().source or f"none: {NOTHING}",
        "commit": _commit(),
    }


def has_gpu() -> bool:
    """Whether an NVIDIA GPU with a driver is visible: a device file of a graphics card, a Jetson's or WSL's."""
    return any(Path(path).exists() for path in ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0", "/dev/dxg"))


def _cpu_name() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return named[0] if named else platform.machine()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _threads(threads: int) -> dict[str, int | str | None]:
    torch_threads = None
    if _version("torch") is not None:
        import torch

        torch_threads = torch.get_num_threads()
    return {
        "torch": torch_threads,
        "onnxruntime": threads or "its choice",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpu() -> dict[str, str] | None:
    said = _said("nvidia-smi", f"--query-gpu={','.join(GPU_QUERY)}", "--format=csv,noheader")
    if said is None or not said.splitlines():
        return None
    return dict(zip(GPU_QUERY, (field.strip() for field in said.splitlines()[0].split(",")), strict=False))


def _board() -> str | None:
    """What the device tree calls the machine: a Jetson's module, its memory left out; None on a PC."""
    try:
        return BOARD.read_text(encoding="utf-8").strip("\0 \n")
    except OSError:
        return None


def _power_mode() -> str | None:
    """A Jetson's mode, such as ``MAXN_SUPER (2)``; None on other machines."""
    said = _said("nvpmodel", "-q")
    lines = (said or "").splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("NV Power Mode")), "")
    number = next((line.strip() for line in lines if line.strip().isdigit()), "")
    return f"{name} ({number})" if name and number else name or said


def _commit() -> str | None:
    folder = Path(__file__).resolve().parent
    commit = _said("git", "-C", str(folder), "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _said("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return f"{commit} with changes" if changed else commit


def _said(program: str, *arguments: str) -> str | None:
    """What a program prints; None if it is not there or fails."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
