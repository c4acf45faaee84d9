"""Jetson modules, each mode of power that counts, and the TensorRT that each JetPack brings.

Rates are those of the GPU alone, without DLA: its clock in the mode that the name stands for, times what one
multiprocessor of the architecture computes in a clock. For Orin that rounds to what the data sheets say.
"""

from __future__ import annotations

from functools import partial

from .device import GIBI, GIGA, Device

AMPERE = (
    "its GPU clock times the rates of an Ampere multiprocessor, a clock: 1024 TF32, 2048 FP16, 4096 INT8 operations"
)
VOLTA = "its GPU clock times the rates of a Xavier multiprocessor, a clock: 128 FP32, 1024 FP16, 2048 INT8 operations"
TENSORRT = {
    "5.1": "8.5.2",
    "6.0": "8.6.2",
    "6.1": "10.3.0",
    "6.2": "10.3.0",
    "7.0": "10.13",
}
"""The TensorRT of a JetPack; https://developer.nvidia.com/embedded/jetpack-archive."""
LEAST_TENSORRT = "10.3"
"""The first with which this project's engines are built and run (pyproject.toml)."""
_XAVIERS, _ORINS, _SUPERS, _THORS = ("5.1",), ("5.1", "6.0", "6.1", "6.2"), ("6.2",), ("7.0",)
_NANO = "NVIDIA Jetson Orin Nano Series data sheet (DS-11105-001)"
_NX = "NVIDIA Jetson Orin NX Series data sheet (DS-10712-001)"
_AGX = "NVIDIA Jetson AGX Orin Series data sheet (DS-10662-001)"
_SUPER = "NVIDIA's table of the super modes of JetPack 6.2"
_XAVIER_NX = "NVIDIA Jetson Xavier NX data sheet"
_XAVIER = "NVIDIA Jetson AGX Xavier Series data sheet"
_THOR = "NVIDIA Jetson Thor Series modules, specifications; rates are published for FP4 with sparsity alone"


def tensorrt_of(device: Device) -> dict[str, str]:
    """JetPack -> TensorRT of a Jetson, those that run this project's engines; empty for a card, and for a Xavier."""
    return {each: TENSORRT[each] for each in device.jetpacks if _key(TENSORRT[each]) >= _key(LEAST_TENSORRT)}


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


def _module(  # noqa: PLR0913 - a row of a table
    name: str,
    multiprocessors: int,
    megahertz: float,
    gigabytes: int,
    bandwidth: float,
    source: str,
    *,
    power: str,
    rates: str = AMPERE,
    capability: tuple[int, int] = (8, 7),
    jetpacks: tuple[str, ...] = _ORINS,
    board: str = "",
) -> Device:
    cycles = multiprocessors * megahertz * 1e6
    fp32, fp16, int8 = (1024, 2048, 4096) if rates is AMPERE else (128, 1024, 2048)
    return Device(
        name=name,
        capability=capability,
        memory=gigabytes * GIBI,
        bandwidth=bandwidth * GIGA,
        source=f"{source}; {rates}",
        fp32=cycles * fp32,
        fp16=cycles * fp16,
        int8=cycles * int8,
        unified=True,
        power=power,
        jetpacks=jetpacks,
        board=board,
    )


def _orin_super(
    name: str, megahertz: float, shape: tuple[int, int, float], source: str, *, power: str, board: str
) -> Device:
    multiprocessors, gigabytes, bandwidth = shape
    source = f"{source}, MAXN_SUPER: {_SUPER}"
    return _module(
        name, multiprocessors, megahertz, gigabytes, bandwidth, source, power=power, jetpacks=_SUPERS, board=board
    )


def _xavier(name: str, shape: tuple[int, float, int, float], source: str, *, power: str, board: str) -> Device:
    xavier = partial(_module, rates=VOLTA, capability=(7, 2), jetpacks=_XAVIERS)
    return xavier(name, *shape, source, power=power, board=board)


JETSONS = (
    _module("orin-nano-4", 4, 625.0, 4, 34.0, f"{_NANO}, 4GB module, 10 W", power="7W, 10W"),
    _module("orin-nano", 8, 625.0, 8, 68.0, f"{_NANO}, 8GB module, 15 W", power="7W, 15W"),
    _orin_super(
        "orin-nano-4-super",
        1020.0,
        (4, 4, 51.0),
        f"{_NANO}, 4GB module",
        power="10W, 25W, MAXN_SUPER",
        board="Jetson Orin Nano",
    ),
    _orin_super(
        "orin-nano-super",
        1020.0,
        (8, 8, 102.0),
        f"{_NANO}, 8GB module",
        power="7W, 15W, 25W, MAXN_SUPER",
        board="Jetson Orin Nano",
    ),
    _module("orin-nx-8", 8, 765.0, 8, 102.4, f"{_NX}, 8GB module, 20 W", power="10W, 15W, 20W, MAXN"),
    _module("orin-nx", 8, 918.0, 16, 102.4, f"{_NX}, 16GB module, 25 W", power="10W, 15W, 25W, MAXN"),
    _orin_super(
        "orin-nx-8-super",
        1173.0,
        (8, 8, 102.4),
        f"{_NX}, 8GB module",
        power="10W, 15W, 20W, 40W, MAXN_SUPER",
        board="Jetson Orin NX",
    ),
    _orin_super(
        "orin-nx-super",
        1173.0,
        (8, 16, 102.4),
        f"{_NX}, 16GB module",
        power="10W, 15W, 25W, 40W, MAXN_SUPER",
        board="Jetson Orin NX",
    ),
    _module(
        *("agx-orin-32", 14, 930.0, 32, 204.8, f"{_AGX}, 32GB module, MAXN"),
        power="15W, 30W, 40W, MAXN",
        board="Jetson AGX Orin",
    ),
    _module(
        *("agx-orin", 16, 1300.0, 64, 204.8, f"{_AGX}, 64GB module, MAXN"),
        power="15W, 30W, 50W, MAXN",
        board="Jetson AGX Orin",
    ),
    _xavier("xavier-nx", (6, 1100.0, 8, 59.7), f"{_XAVIER_NX}, 8GB", power="10W, 15W, 20W", board="Xavier NX"),
    _xavier("xavier-nx-16", (6, 1100.0, 16, 59.7), f"{_XAVIER_NX}, 16GB", power="10W, 15W, 20W", board="Xavier NX"),
    _xavier(
        *("agx-xavier", (8, 1377.0, 32, 136.5), f"{_XAVIER}, 32GB module, MAXN"),
        power="10W, 15W, 30W, MAXN",
        board="AGX Xavier",
    ),
    Device(
        name="thor",
        capability=(11, 0),
        memory=128 * GIBI,
        bandwidth=273 * GIGA,
        source=f"{_THOR}, T5000",
        unified=True,
        power="40 to 130 W",
        jetpacks=_THORS,
        board="Jetson AGX Thor",
    ),
)
ALIASES = {"orin-nano-8": "orin-nano", "orin-nano-8-super": "orin-nano-super", "orin-nx-16": "orin-nx"}
ALIASES |= {"orin-nx-16-super": "orin-nx-super", "agx-orin-64": "agx-orin"}
"""Names with the memory, for those that had a name before there were several of a kind."""
