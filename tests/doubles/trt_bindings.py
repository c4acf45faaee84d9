"""The real Python bindings of several TensorRT versions, importable without TensorRT and without a GPU.

Their wheels come from PyPI into ``.cache/trt-bindings/<version>``; the three libraries that they link against are
empty but for nine C functions. Classes, methods and enums are then the real ones. ``names_used`` collects what our
code asks of a TensorRT module, ``missing_names`` says what a version does not have.

    python -m tests.doubles.trt_bindings runtime/plugin export/engine.py
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "trt-bindings"
VERSIONS = {
    "10.3.0": "tensorrt-cu12-bindings",
    "10.16.1.11": "tensorrt-cu12-bindings",
    "11.4.0.106": "tensorrt-cu13-bindings",
}
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
MODULE_NAMES = ("trt", "tensorrt", "tensorrt_rtx")

_PROBE = """
import json, sys
import tensorrt_bindings as trt
missing = []
for name in json.load(sys.stdin):
    value = trt
    for part in name.split("."):
        if not hasattr(value, part):
            missing.append(name)
            break
        value = getattr(value, part)
print(json.dumps(missing))
"""


class BindingsUnavailableError(Exception):
    """A version cannot be had here: no network, no compiler, or no wheel for this Python."""


@dataclass(frozen=True)
class Bindings:
    """An unpacked wheel, and the folder with the empty libraries."""

    version: str
    packages: Path
    libraries: Path


def names_used(paths: Iterable[Path]) -> set[str]:
    """Dotted names that Python files ask of a TensorRT module, such as ``TensorFormat.HWC8``.

    A chain of attributes counts when it begins with a variable called trt, tensorrt or tensorrt_rtx, or with an
    attribute of that name (``self.trt``, ``self._trt``). The chain ends at the first call. Folders are searched.
    """
    names: set[str] = set()
    for path in paths:
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and (name := _dotted(node)):
                    names.add(name)
    names = {name for name in names if not name.startswith("__")}
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


def _dotted(node: ast.Attribute) -> str | None:
    parts: list[str] = []
    value: ast.expr = node
    while isinstance(value, ast.Attribute):
        if value.attr.lstrip("_") in MODULE_NAMES:
            break
        parts.append(value.attr)
        value = value.value
    root = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    if root.lstrip("_") not in MODULE_NAMES or not parts:
        return None
    parts.reverse()
    return ".".join(parts[: next((i for i, part in enumerate(parts) if part.startswith("__")), len(parts))]) or None


def missing_names(version: str, names: Iterable[str]) -> list[str]:
    """Those of the dotted names that a version's bindings do not have, found in a process of its own.

    Raises:
        BindingsUnavailableError: the version cannot be fetched, linked or imported here.
    """
    bindings = fetch(version)
    environment = {
        **os.environ,
        "PYTHONPATH": str(bindings.packages),
        "LD_LIBRARY_PATH": f"{bindings.libraries}{os.pathsep}{os.environ.get('LD_LIBRARY_PATH', '')}",
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROBE],
        input=json.dumps(sorted(names)),
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode != 0:
        raise BindingsUnavailableError(f"TensorRT {version} bindings do not import here:\n{done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def fetch(version: str) -> Bindings:
    """Download, unpack and link a version, once.

    Raises:
        BindingsUnavailableError: see there.
    """
    folder = CACHE / version
    bindings = Bindings(version, folder / "packages", folder / "libraries")
    if (folder / "complete").is_file():
        return bindings
    building = CACHE / f"{version}.{os.getpid()}"
    try:
        _unpack(f"{VERSIONS[version]}=={version}", building)
        _link_empty_libraries(building / "libraries", major=int(version.split(".", maxsplit=1)[0]))
        (building / "complete").touch()
        if not folder.exists():
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return bindings


def _unpack(requirement: str, folder: Path) -> None:
    wheels = folder / "wheels"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "-d", str(wheels), requirement], check=False, capture_output=True, text=True)
    found = sorted(wheels.glob("*.whl"))
    if done.returncode != 0 or not found:
        raise BindingsUnavailableError(f"pip could not download {requirement}: {done.stderr.strip()[-500:]}")
    with zipfile.ZipFile(found[0]) as wheel:
        wheel.extractall(folder / "packages")
    shutil.rmtree(wheels)


def _link_empty_libraries(folder: Path, major: int) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        raise BindingsUnavailableError("gcc was not found; it makes the empty TensorRT libraries")
    folder.mkdir(parents=True)
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS), encoding="utf-8")
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", str(source), "-o", str(folder / name)]
        subprocess.run(command, check=True)


def main(arguments: list[str]) -> int:
    """Print, for each version, the names used in the given files and folders that it does not have."""
    names = names_used(Path(each) for each in arguments)
    absent = {version: missing_names(version, names) for version in VERSIONS}
    print(f"{len(names)} names: {', '.join(sorted(names))}")
    for version, missing in absent.items():
        print(f"TensorRT {version}: {', '.join(missing) or 'has them all'}")
    return 1 if any(absent.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
