"""The stand-in CUDA driver and the real pycuda built against it, both made once and kept.

The driver is a ``libcuda.so.1`` in host memory (C, in ``cuda/``); what it does not implement answers "not supported".
pycuda comes as source from PyPI and takes about two minutes to compile, so its result is kept in the cache folder
(``$DEFIAN_CACHE``, else ``~/.cache/defian-edge``). Both need the headers of a CUDA toolkit, and no GPU.

    python -m tests.doubles.standin     # build what is missing; says why if it cannot
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from defian_edge.runtime.cache import cache_folder

PYCUDA = "pycuda==2026.1"
SOURCE = Path(__file__).with_name("cuda")
HEADERS = ("cuda.h", "cudaProfiler.h")
FLAGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1")


class ToolkitMissingError(Exception):
    """There is no CUDA toolkit, or no C compiler, to build with."""


@dataclass(frozen=True)
class StandIn:
    """Folders of what was built: the driver library, and the Python packages that go on the path."""

    library: Path
    packages: Path

    def environment(self) -> dict[str, str]:
        """The environment of a process that shall see the stand-in and pycuda."""
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.library.parent),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(self.packages), os.environ.get("PYTHONPATH")))),
            "DEFIAN_STAND_IN": str(self.library),
        }


def toolkit() -> Path:
    """The root of a CUDA toolkit: ``$CUDA_HOME`` if it is set; else the folder of nvcc, or ``/usr/local/cuda``.

    Raises:
        ToolkitMissingError: there is none that holds ``include/cuda.h``, or there is no gcc.
    """
    if shutil.which("gcc") is None or shutil.which("g++") is None:
        raise ToolkitMissingError("gcc and g++ are needed to build the stand-in CUDA driver and pycuda")
    nvcc = shutil.which("nvcc")
    chosen = os.environ.get("CUDA_HOME")
    named = (chosen,) if chosen else (nvcc and str(Path(nvcc).resolve().parents[1]), "/usr/local/cuda")
    for root in (Path(name).resolve() for name in named if name):
        if (root / "include" / "cuda.h").is_file():
            return root
    places = f"$CUDA_HOME, {chosen}" if chosen else "nvcc's folder or /usr/local/cuda, and CUDA_HOME is not set"
    raise ToolkitMissingError(f"no CUDA toolkit was found: no include/cuda.h below {places}")


def build() -> StandIn:
    """Both parts, from the cache if they are there.

    Raises:
        ToolkitMissingError: there is nothing to build them with.
        subprocess.CalledProcessError: a build failed; its output has been shown.
    """
    root, cache = toolkit(), (cache_folder() or Path(tempfile.gettempdir())) / "stand-in"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "lock"):
        return StandIn(_driver(root, cache), _pycuda(root, cache))


def _driver(root: Path, cache: Path) -> Path:
    sources = sorted(SOURCE.glob("*.[ch]"))
    digest = hashlib.sha256(" ".join((*FLAGS, _stubs_of(root))).encode())
    for source in sources:
        digest.update(source.read_bytes())
    library = cache / f"driver-{digest.hexdigest()[:16]}" / "libcuda.so.1"
    if not library.is_file():
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            stubs = Path(folder, "stubs.c")
            stubs.write_text(_stubs_of(root), encoding="utf-8")
            made = Path(folder, library.name)
            parts = [stubs, *(source for source in sources if source.suffix == ".c")]
            _run("gcc", *FLAGS, f"-I{root / 'include'}", f"-I{SOURCE}", *map(str, parts), "-o", str(made))
            library.parent.mkdir(exist_ok=True)
            made.rename(library)
    return library


def _stubs_of(root: Path) -> str:
    """C source with a weak function for every entry point that the toolkit's headers declare."""
    headers = "".join(
        _run("gcc", "-E", "-P", f"-I{root / 'include'}", str(root / "include" / name)) for name in HEADERS
    )
    names = sorted(set(re.findall(r"\b(cu[A-Z]\w*)\s*\(", headers)))
    return "".join(f"__attribute__((weak)) int {name}(void) {{ return 801; }}\n" for name in names)


def _pycuda(root: Path, cache: Path) -> Path:
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    packages = cache / f"{PYCUDA.replace('==', '-')}-{python}-{root.name}"
    if (packages / "pycuda").is_dir():
        return packages
    print(f"Building {PYCUDA} against the stand-in CUDA driver, once: about two minutes.", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        home = Path(folder)
        stubs = home / "stubs.c"
        stubs.write_text(_stubs_of(root), encoding="utf-8")
        _run("gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", str(stubs), "-o", str(home / "libcuda.so"))
        # pycuda's setup reads this file, and no other way tells it all of: toolkit, no curand, where libcuda is.
        (home / ".aksetup-defaults.py").write_text(
            f"CUDA_ROOT = {str(root)!r}\nCUDA_ENABLE_CURAND = False\nCUDADRV_LIB_DIR = [{folder!r}]\n"
            "CXXFLAGS = ['-O0', '-g0', '-w']\n",
            encoding="utf-8",
        )
        kept = {
            "HOME": folder,
            "PIP_CACHE_DIR": str(Path.home() / ".cache" / "pip"),
            "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", str(Path.home() / ".config")),
        }
        install = ("-m", "pip", "install", "-q", "--no-binary", "pycuda", "--target", f"{folder}/packages", PYCUDA)
        _run(sys.executable, *install, environment={**os.environ, **kept})
        (home / "packages").rename(packages)
    return packages


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        done.check_returncode()
    return done.stdout


def main() -> None:
    """Build both, or say why the tests on the stand-in driver will be skipped."""
    try:
        built = build()
    except ToolkitMissingError as error:
        print(f"The tests on the stand-in CUDA driver will be skipped: {error}.")
        return
    print(f"Stand-in CUDA driver: {built.library}\npycuda for it: {built.packages}")


if __name__ == "__main__":
    main()
