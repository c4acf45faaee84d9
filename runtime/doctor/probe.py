"""A child process that asks native libraries what they are: NVML, the CUDA driver, pycuda, PyAV.

Each is loaded here, and not in the command's own process, because one that was built for another machine may end the
process instead of answering.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import video_encoder
from ..errors import DefianError
from .gpus import listed_by_nvml
from .steps import Skipped, carry_out_steps, leave

LIBRARIES = {"win32": "nvcuda.dll"}
DRIVER = LIBRARIES.get(sys.platform, "libcuda.so.1")
ASKED = (
    *("cuDriverGetVersion", "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2"),
    "cuDeviceGetAttribute",
)
"""Functions that every driver has; a library without them only has its name."""
INTEGRATED, MAJOR, MINOR = 18, 75, 76
"""CU_DEVICE_ATTRIBUTE_INTEGRATED, ..._COMPUTE_CAPABILITY_MAJOR and ..._MINOR."""
ENCODERS = tuple(name for name in video_encoder.ENCODERS if name != "ffv1")
"""What a video can be written with and a build of FFmpeg may lack; ``ffv1`` is FFmpeg's own."""


def main(arguments: list[str]) -> None:
    """Run the steps; an argument is the step to begin after."""
    steps = (("nvml", ask_nvml), ("driver", ask_driver), ("pycuda", ask_pycuda), ("av", ask_pyav))
    carry_out_steps(steps, *arguments)
    leave()


def ask_nvml() -> dict[str, Any]:
    """Every GPU that NVML lists, as the fields of a ``Gpu``, and in its own words why it lists none."""
    found, why = listed_by_nvml()
    return {"gpus": [asdict(gpu) for gpu in found], "why": why}


def ask_driver() -> dict[str, Any]:
    """What the CUDA driver's library says of itself and of its devices.

    ``library`` is why it does not load, ``cuda`` the number that it gives for the newest CUDA that it supports,
    ``status`` cuInit's answer, and ``devices`` what is known of each without a context.
    """
    try:
        library = ctypes.CDLL(DRIVER)
    except OSError as error:
        return {"library": str(error), "cuda": None, "status": None, "devices": []}
    lacking = [name for name in ASKED if not hasattr(library, name)]
    if lacking:
        raise DefianError(f"{loaded_file(DRIVER)} is no CUDA driver, it has no {', '.join(lacking)}")
    number = ctypes.c_int()
    cuda = number.value if library.cuDriverGetVersion(ctypes.byref(number)) == 0 else None
    status = int(library.cuInit(0))
    count = ctypes.c_int()
    if status == 0:
        library.cuDeviceGetCount(ctypes.byref(count))
    devices = [_device(library, index) for index in range(count.value)]
    return {"library": "", "cuda": cuda or number.value, "status": status, "devices": devices}


def loaded_file(name: str) -> str:
    """The file as which this process has loaded a library; the library's name where the system does not tell."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return name
    stem = f"/{name.partition('.so')[0]}.so"
    return next((line[line.index("/") :] for line in lines if stem in line), name)


def _device(library: Any, index: int) -> dict[str, Any]:  # noqa: ANN401 - a library's functions have no types
    device, total = ctypes.c_int(), ctypes.c_size_t()
    name, uuid = ctypes.create_string_buffer(256), ctypes.create_string_buffer(16)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, 256, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    ask_uuid = getattr(library, "cuDeviceGetUuid_v2", None) or getattr(library, "cuDeviceGetUuid", None)
    known = ask_uuid is not None and ask_uuid(uuid, device) == 0

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    return {
        "name": name.value.decode("utf-8", "replace"),
        "uuid": uuid.raw.hex() if known else "",
        "total": total.value,
        "capability": [attribute(MAJOR), attribute(MINOR)],
        "unified": bool(attribute(INTEGRATED)),
    }


def ask_pycuda() -> list[int]:
    """The CUDA version that pycuda was compiled with, such as [12, 6, 0]."""
    try:
        import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise Skipped("not installed") from error
    return [int(part) for part in cuda.get_version()]


def ask_pyav() -> dict[str, Any]:
    """The version of libavcodec in PyAV, and which of the encoders it has."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise Skipped("not installed") from error
    version = av.library_versions.get("libavcodec", ())
    known = {name for name in ENCODERS if name in av.codecs_available and _encodes(av, name)}
    return {"libavcodec": ".".join(map(str, version)), "encoders": sorted(known)}


def _encodes(av: Any, name: str) -> bool:  # noqa: ANN401 - an optional package
    try:
        return bool(av.codec.Codec(name, "w").is_encoder)
    except ValueError:  # PyAV's UnknownCodecError
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
