"""The kernel's machine code for a device: built ahead of time, or by NVRTC at first use and kept on disk."""

from __future__ import annotations

import hashlib
import importlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache import VARIABLE, cache_folder, keep, read_cached
from ..errors import DefianError, MissingPackageError
from ..json_values import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENTRY = "kernel.cu"
HEADERS = (
    *("hessian.h", "element.h", "problem.h", "float_tile.h"),
    *("tensor_warp.h", "tensor_taps.h", "tensor_stage.h", "tensor_tile.h"),
)
FATBIN = "kernel.fatbin"
FATBIN_RECORD = "kernel.fatbin.json"
COMPILE_FLAGS = ("--std=c++17", "--prec-sqrt=false")
CACHE_VARIABLE = VARIABLE


def source_folder() -> Path:
    """The folder with the CUDA source, inside the installed package."""
    return Path(__file__).with_name("cuda")


def source_digest() -> str:
    """SHA-256 over the names and texts of the CUDA source and the compiler flags."""
    digest = hashlib.sha256(" ".join(COMPILE_FLAGS).encode())
    for name in (ENTRY, *HEADERS):
        digest.update(f"\0{name}\0".encode())
        digest.update((source_folder() / name).read_bytes())
    return digest.hexdigest()


def ahead_of_time_image(capability: tuple[int, int]) -> bytes | None:
    """The fatbin built by ``python -m export.plugin build``; None if there is none or its source has changed.

    It holds PTX of its oldest architecture, so it covers that one and every newer one.

    Raises:
        DefianError: every architecture that it was built for is newer than the device.
    """
    record, fatbin = source_folder() / FATBIN_RECORD, source_folder() / FATBIN
    if not (record.is_file() and fatbin.is_file()):
        return None
    try:
        said = parse_json(record.read_bytes())
        built_from, oldest = said["source_sha256"], min(said["architectures"])
        too_new = oldest > 10 * capability[0] + capability[1]
    except (ValueError, KeyError, TypeError):
        return None
    if built_from != source_digest():
        return None
    if too_new:
        msg = f"it has code for sm_{oldest} and newer, and the device is sm_{capability[0]}{capability[1]}"
        hint = f"Rebuild it with: python -m defian_edge.export.plugin build --sm {capability[0]}{capability[1]}"
        raise DefianError(msg, hint)
    return fatbin.read_bytes()


def kernel_images(
    capability: tuple[int, int], cache: Path | None = None
) -> Iterator[tuple[str, Callable[[], bytes | None]]]:
    """Where code for a compute capability such as ``(8, 7)`` may come from, best first, each to be tried once.

    Yields the place, and a function that gives its fatbin or cubin, or None if there is nothing; it raises
    DefianError if what is there does not fit the device, or if NVRTC is missing or refuses the source. What NVRTC
    makes takes the place of what the cache had.
    """
    name = f"hessian-{source_digest()[:16]}-sm{capability[0]}{capability[1]}.cubin"
    folder = cache or cache_folder()
    cached = None if folder is None else folder / "kernels" / name
    yield f"the fatbin built ahead of time ({FATBIN})", partial(ahead_of_time_image, capability)
    if cached is not None:
        yield f"the cache ({cached})", partial(read_cached, cached)
    yield "NVRTC", partial(_compiled, capability, cached)


def _compiled(capability: tuple[int, int], cached: Path | None) -> bytes:
    image = compile_with_nvrtc(capability)
    if cached is not None:
        keep(cached, image)
    return image


def compile_with_nvrtc(capability: tuple[int, int]) -> bytes:
    """Compile the source for one compute capability; needs the NVRTC library but neither a GPU nor a toolkit."""
    nvrtc = _nvrtc()
    headers = [(source_folder() / name).read_bytes() for name in HEADERS]
    text = (source_folder() / ENTRY).read_bytes()
    names = [name.encode() for name in HEADERS]
    program = _checked(nvrtc, *nvrtc.nvrtcCreateProgram(text, ENTRY.encode(), len(names), headers, names))
    try:
        flags = [f"--gpu-architecture=sm_{capability[0]}{capability[1]}", *COMPILE_FLAGS]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(flags), [flag.encode() for flag in flags])
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            msg = f"NVRTC could not compile the eigenvalue kernel for sm_{capability[0]}{capability[1]}: {status.name}"
            raise DefianError(msg + "\n" + _log(nvrtc, program), "Build engines with --eigen function instead.")
        image = b" " * _checked(nvrtc, *nvrtc.nvrtcGetCUBINSize(program))
        _checked(nvrtc, *nvrtc.nvrtcGetCUBIN(program, image))
        return image
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _nvrtc() -> Any:  # noqa: ANN401 - an optional package
    try:
        nvrtc = importlib.import_module("cuda.bindings.nvrtc")
    except ImportError as error:
        raise MissingPackageError("cuda-bindings", "device", "Compiling the eigenvalue plugin's kernel") from error
    try:
        nvrtc.nvrtcVersion()
    except RuntimeError as error:
        msg = f"the NVRTC library was not found: {error}"
        hint = (
            "Install it with: pip install nvidia-cuda-nvrtc; or build with: python -m defian_edge.export.plugin build"
        )
        raise DefianError(msg.strip(), hint) from error
    return nvrtc


def _log(nvrtc: Any, program: Any) -> str:  # noqa: ANN401
    text = b" " * _checked(nvrtc, *nvrtc.nvrtcGetProgramLogSize(program))
    _checked(nvrtc, *nvrtc.nvrtcGetProgramLog(program, text))
    return text.decode(errors="replace").strip("\0 \n")


def _checked(nvrtc: Any, status: Any, value: Any = None) -> Any:  # noqa: ANN401
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise DefianError(f"NVRTC failed: {status.name}")
    return value
