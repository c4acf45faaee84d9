"""Pairs that do not work together: a package and the driver, the GPU, or another package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...hardware.device import takes_rtx
from ..packages import RUNTIMES, those_there
from .rule import Rule, Verdict, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..facts import Facts, Package

LEAST_DRIVER = {11: "450", 12: "525", 13: "580"}
"""The least driver by the major version of CUDA."""
COMPATIBILITY = "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"
OTHER_CUDA = {
    "onnxruntime-gpu": {12: "pip install 'onnxruntime-gpu[cuda]<1.27'"},
    "tensorrt": {12: "pip uninstall -y tensorrt tensorrt-cu13 && pip install 'tensorrt-cu12>=10.3'"},
    "tensorrt-rtx": {12: "pip uninstall -y tensorrt-rtx tensorrt-rtx-cu13 && pip install tensorrt-rtx-cu12"},
    "nvidia-cuda-nvrtc": {12: "pip uninstall -y nvidia-cuda-nvrtc && pip install nvidia-cuda-nvrtc-cu12"},
    "torch": {12: "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126"},
    "cuda-bindings": {12: "pip install 'cuda-bindings==12.*'"},
    "pycuda": {
        each: f"CUDA_ROOT=/usr/local/cuda-{each} pip install --force-reinstall --no-cache-dir pycuda"
        for each in (11, 12, 13)
    },
}
"""What installs the same package for an older CUDA. onnxruntime-gpu 1.27 is the first on PyPI that asks for the
libraries of CUDA 13 (its metadata, extra ``cuda``)."""
LEAST_TENSORRT_CAPABILITY = (7, 5)


def newer_than_the_driver(facts: Facts) -> Iterator[Verdict]:
    """No package of a CUDA that the driver does not have yet."""
    if facts.driver.cuda is None:
        return
    major, minor = facts.driver.cuda
    for package in facts.packages.values():
        if package.cuda is None or package.cuda <= major or _part_of_another(package, facts):
            continue
        least = LEAST_DRIVER.get(package.cuda)
        update = f"a driver {least} or newer" if least else "a newer driver"
        text = (
            f"{package.name} {package.version} is built for CUDA {package.cuda}, and the driver supports CUDA "
            f"{major}.{minor}: it needs {update}, or another wheel."
        )
        update_now = f"sudo ubuntu-drivers install nvidia:{least}" if least else "sudo ubuntu-drivers install"
        if facts.jetson is not None:
            update_now = "sudo apt dist-upgrade (a Jetson's driver comes with JetPack)"
        yield red("packages", text, OTHER_CUDA.get(package.name, {}).get(major) or update_now)


def _part_of_another(package: Package, facts: Facts) -> bool:
    """Whether the finding on a whole package covers this part of it: ``tensorrt-cu13`` and ``tensorrt``."""
    whole, told, _ = package.name.rpartition("-cu")
    return bool(told) and whole in facts.packages


def two_runtimes(facts: Facts) -> Iterator[Verdict]:
    """One ONNX Runtime: several write the same files, and the last that was installed or removed decides."""
    found = those_there(facts.packages, RUNTIMES)
    if len(found) < 2:
        return
    names = [package.name for package in found]
    wanted = "onnxruntime-gpu" if "onnxruntime-gpu" in names and facts.driver.works else "onnxruntime"
    text = f"{' and '.join(f'{each.name} {each.version}' for each in found)} are installed over each other."
    yield red("packages", text, f"pip uninstall -y {' '.join(names)} && pip install {wanted}")


def pycuda_loads(facts: Facts) -> Iterator[Verdict]:
    """A pycuda that was built for libraries that are here."""
    found = facts.packages.get("pycuda")
    if found is None or not found.error:
        return
    if "libcuda.so" in found.error and (facts.driver.library or "driver" in facts.crashes):
        return  # the driver's own finding, if it is one
    major = facts.driver.cuda[0] if facts.driver.cuda else None
    text = f"pycuda {found.version} does not load, as one that was built for another toolkit: {found.error}."
    fallback = "pip install --force-reinstall --no-cache-dir pycuda"
    yield red("packages", text, OTHER_CUDA["pycuda"].get(major or 0, fallback))


def rtx_runs_here(facts: Facts) -> Iterator[Verdict]:
    """A GPU that TensorRT-RTX takes, if TensorRT-RTX is here."""
    if "tensorrt-rtx" not in facts.packages:
        return
    for index, gpu in enumerate(facts.gpus):
        if gpu.capability is None or takes_rtx(gpu.capability):
            continue
        major, minor = gpu.capability
        text = f"TensorRT-RTX loads no engine on compute capability {major}.{minor} ({gpu.name})."
        area, cure = f"gpu {index}", "pip install 'defian-edge[gpu]'"
        if "tensorrt" in facts.packages:
            yield yellow(area, f"{text} TensorRT is here and does.", "python export.py --target tensorrt ...")
        else:
            yield red(area, text, "sudo apt install tensorrt python3-libnvinfer" if facts.jetson else cure)


def tensorrt_runs_here(facts: Facts) -> Iterator[Verdict]:
    """A GPU that TensorRT takes, if TensorRT is here."""
    if "tensorrt" not in facts.packages:
        return
    for index, gpu in enumerate(facts.gpus):
        if gpu.capability is not None and gpu.capability < LEAST_TENSORRT_CAPABILITY:
            major, minor = gpu.capability
            text = f"TensorRT needs compute capability 7.5 since 10.5; {gpu.name} has {major}.{minor}."
            cure = "python -m runtime PHOTO --engine GRAPH.onnx --provider cuda --out sr/"
            yield red(f"gpu {index}", text, f"{cure} (graphs run; engines do not)")


PAIR_RULES = (
    Rule(
        "newer-than-the-driver",
        f"{COMPATIBILITY}; https://github.com/NVIDIA/cutlass/issues/2866",
        newer_than_the_driver,
    ),
    Rule("two-onnx-runtimes", "https://github.com/microsoft/onnxruntime/issues/26996", two_runtimes),
    Rule("pycuda-loads", "https://github.com/inducer/pycuda/issues/204", pycuda_loads),
    Rule(
        "rtx-capability",
        "https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/getting-started/support-matrix.html; docs/gpu.md",
        rtx_runs_here,
    ),
    Rule(
        "tensorrt-capability",
        "https://docs.nvidia.com/deeplearning/tensorrt/latest/getting-started/release-notes-10/10.5.0.html",
        tensorrt_runs_here,
    ),
)
