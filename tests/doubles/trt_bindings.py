"""The real Python bindings of several TensorRT versions, importable without TensorRT and without a GPU.

Their wheels come from PyPI into ``.cache/trt-bindings/<Python>/<version>``; the three libraries that they link against
are empty but for nine C functions. Classes, methods and enums are then the real ones. ``missing_names`` says which of
the names that our code uses (``trt_names.py``) a version does not have.

    python -m tests.doubles.trt_bindings runtime/plugin export/engine/build.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.doubles.trt_names import names_used

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "trt-bindings" / sys.implementation.cache_tag
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
RTX = "tensorrt_rtx"
"""Stands for the installed TensorRT-RTX among the versions."""

_PROBE = """
import functools, importlib, json, sys

trt = importlib.import_module(sys.argv[1])

def has(name):
    owners, _, member = name.rpartition(".")
    for owner in owners.split("|"):
        try:
            functools.reduce(getattr, [*filter(None, owner.split(".")), member], trt)
            return True
        except AttributeError:
            pass
    return False

classes = [value for value in vars(trt).values() if isinstance(value, type)]
members = {name for each in classes for name in dir(each) if not name.startswith("_")}
print(json.dumps([[name for name in json.load(sys.stdin) if not has(name)], sorted(members)]))
"""


class BindingsUnavailableError(Exception):
    """A version cannot be had here: no network, no compiler, or no wheel for this Python."""


@dataclass(frozen=True)
class Bindings:
    """An unpacked wheel, and the folder with the empty libraries."""

    version: str
    packages: Path
    libraries: Path


def missing_names(version: str, names: Iterable[str]) -> list[str]:
    """Those of the dotted names that a version's bindings do not have; ``A|B.member`` is in A or in B.

    Raises:
        BindingsUnavailableError: the version cannot be fetched, linked or imported here.
    """
    return _probe(version, names)[0]


def members(version: str) -> set[str]:
    """The names of all members of all classes of a version.

    Raises:
        BindingsUnavailableError: see ``missing_names``.
    """
    return set(_probe(version, ())[1])


def _probe(version: str, names: Iterable[str]) -> tuple[list[str], list[str]]:
    done = run_with(version, _PROBE, json.dumps(sorted(names)))
    if done.returncode != 0:
        raise BindingsUnavailableError(f"TensorRT {version} bindings do not import here:\n{done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def run_with(version: str, source: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python source in a process of its own, whose first argument is the name of the version's module.

    Our own packages are importable in it. It should end with ``os._exit``: without TensorRT behind them, the
    bindings of 10.3 crash when the interpreter ends after a class of theirs has been subclassed.

    Raises:
        BindingsUnavailableError: see ``fetch``.
    """
    module, environment = RTX, {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    if version != RTX:
        bindings, module = fetch(version), "tensorrt_bindings"
        libraries = filter(None, (str(bindings.libraries), os.environ.get("LD_LIBRARY_PATH")))
        environment["PYTHONPATH"] = os.pathsep.join((str(bindings.packages), str(REPOSITORY)))
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
    command = [sys.executable, "-c", source, module]
    return subprocess.run(command, input=stdin, check=False, capture_output=True, text=True, env=environment)


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
    absent = {version: missing_names(version, names) for version in (*VERSIONS, RTX)}
    print(f"{len(names)} names: {', '.join(sorted(names))}")
    for version, missing in absent.items():
        print(f"TensorRT {version}: {', '.join(missing) or 'has them all'}")
    return 1 if any(absent.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
