"""Published peaks of devices. Dense rates: what a vendor quotes with structured sparsity is halved here.

A bound must not be beaten, so where a device has several rates for a type the fastest counts: FP32 convolutions may
run as TF32 on tensor cores, FP16 ones may accumulate in FP16. Jetson figures are those of the GPU alone, without DLA,
at the module's highest power mode.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import DefianError

TERA, GIGA = 1e12, 1e9
_JETSON = (
    "its GPU clock times the rates of an Ampere multiprocessor, a clock: 1024 TF32, 2048 FP16, 4096 INT8 operations"
)


@dataclass(frozen=True)
class Device:
    """Peaks of one device: operations per second by type (a MAC is two), and bytes per second.

    Attributes:
        name: what ``--device`` takes.
        fp32, fp16, int8: operations per second, dense.
        bandwidth: of the device's memory, bytes per second.
        source: where the figures come from.
        gpu_name: part of what the driver calls it; empty for none.
    """

    name: str
    fp32: float
    fp16: float
    int8: float
    bandwidth: float
    source: str
    gpu_name: str = ""

    def peak(self, precision: str) -> float:
        """Operations per second of ``fp32``, ``fp16`` or ``int8``."""
        return {"fp32": self.fp32, "fp16": self.fp16, "int8": self.int8}[precision]


def _orin(name: str, multiprocessors: int, megahertz: float, bandwidth: float, source: str) -> Device:
    cycles = multiprocessors * megahertz * 1e6
    return Device(name, cycles * 1024, cycles * 2048, cycles * 4096, bandwidth * GIGA, f"{source}; {_JETSON}", "")


def _card(name: str, teras: tuple[float, float, float], bandwidth: float, source: str, gpu_name: str) -> Device:
    fp32, fp16, int8 = (value * TERA for value in teras)
    return Device(name, fp32, fp16, int8, bandwidth * GIGA, source, gpu_name)


_ORIN = "NVIDIA Jetson Orin module data sheets"
_AMPERE = "NVIDIA Ampere GA102 GPU Architecture whitepaper, appendix A"
_ADA = "NVIDIA Ada GPU Architecture whitepaper, appendix A"
_LARGE = "data sheet, tensor-core rates halved where quoted with sparsity"

DEVICES = {
    device.name: device
    for device in (
        _orin("orin-nano", 8, 625.0, 68.0, f"{_ORIN}: Orin Nano 8GB, 15 W"),
        _orin("orin-nano-super", 8, 1020.0, 102.0, f"{_ORIN}: Orin Nano 8GB, JetPack 6.2 super mode"),
        _orin("orin-nx", 8, 918.0, 102.4, f"{_ORIN}: Orin NX 16GB, 25 W"),
        _orin("agx-orin", 16, 1300.0, 204.8, f"{_ORIN}: AGX Orin 64GB, MAXN"),
        _card("rtx3090", (35.6, 142.3, 284.7), 936.0, _AMPERE, "RTX 3090"),
        _card("rtx4090", (82.6, 330.3, 660.6), 1008.0, _ADA, "RTX 4090"),
        _card("a100", (156.0, 312.0, 624.0), 2039.0, f"NVIDIA A100 80GB SXM {_LARGE}", "A100"),
        _card("h100", (494.7, 989.4, 1978.9), 3350.0, f"NVIDIA H100 SXM {_LARGE}", "H100"),
        _card("h200", (494.7, 989.4, 1978.9), 4800.0, f"NVIDIA H200 SXM {_LARGE}", "H200"),
    )
}


def device_named(name: str) -> Device:
    """A device of the table.

    Raises:
        DefianError: it is not in the table.
    """
    if name not in DEVICES:
        raise DefianError(f"No device {name!r} in the table of published peaks: expected one of {', '.join(DEVICES)}.")
    return DEVICES[name]


def device_of_gpu(gpu_name: str | None) -> Device | None:
    """The table's entry for what the driver calls the GPU; None if the table lacks it."""
    known = (each for each in DEVICES.values() if each.gpu_name and gpu_name and each.gpu_name in gpu_name)
    return next(known, None)
