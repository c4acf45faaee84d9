"""Published peaks of devices. Dense rates: what a vendor quotes with structured sparsity is halved here.

A bound must not be beaten, so where a device has several rates for a type the fastest counts: FP32 convolutions may
run as TF32 on tensor cores, FP16 ones may accumulate in FP16. Jetson figures are those of the GPU alone, without DLA,
at the clock of the power mode that the name stands for.
"""

from __future__ import annotations

from dataclasses import dataclass

from defian_edge.runtime.errors import DefianError

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
        drivers_name: what the driver calls it, without "NVIDIA " and "GeForce "; empty for a Jetson.
        board: what a Jetson's device tree calls its module; empty for a card, and for a mode that is not its fastest.
    """

    name: str
    fp32: float
    fp16: float
    int8: float
    bandwidth: float
    source: str
    drivers_name: str = ""
    board: str = ""

    def peak(self, precision: str) -> float:
        """Operations per second of ``fp32``, ``fp16``, ``bf16``, which tensor cores multiply as fast, or ``int8``."""
        return {"fp32": self.fp32, "fp16": self.fp16, "bf16": self.fp16, "int8": self.int8}[precision]


def _orin(name: str, shape: tuple[int, float], bandwidth: float, source: str, board: str = "") -> Device:
    multiprocessors, megahertz = shape
    cycles = multiprocessors * megahertz * 1e6
    return Device(
        name, cycles * 1024, cycles * 2048, cycles * 4096, bandwidth * GIGA, f"{source}; {_JETSON}", board=board
    )


def _card(name: str, teras: tuple[float, float, float], bandwidth: float, source: str, drivers_name: str) -> Device:
    fp32, fp16, int8 = (value * TERA for value in teras)
    return Device(name, fp32, fp16, int8, bandwidth * GIGA, source, drivers_name)


_NANO = "NVIDIA Jetson Orin Nano Series data sheet (DS-11105-001), 8GB module"
_NX = "NVIDIA Jetson Orin NX Series data sheet (DS-10712-001), 16GB module"
_AGX = "NVIDIA Jetson AGX Orin Series data sheet (DS-10662-001), 64GB module"
_SUPER = "NVIDIA's table of the super modes of JetPack 6.2"
_AMPERE = "NVIDIA Ampere GA102 GPU Architecture whitepaper, appendix A"
_ADA = "NVIDIA Ada GPU Architecture whitepaper, appendix A"
_HALVED = "tensor-core rates halved where quoted with sparsity"

DEVICES = {
    device.name: device
    for device in (
        _orin("orin-nano", (8, 625.0), 68.0, f"{_NANO}, 15 W"),
        _orin("orin-nano-super", (8, 1020.0), 102.0, f"{_NANO}, MAXN_SUPER: {_SUPER}", "Jetson Orin Nano"),
        _orin("orin-nx", (8, 918.0), 102.4, f"{_NX}, 25 W"),
        _orin("orin-nx-super", (8, 1173.0), 102.4, f"{_NX}, MAXN_SUPER: {_SUPER}", "Jetson Orin NX"),
        _orin("agx-orin", (16, 1300.0), 204.8, f"{_AGX}, MAXN", "Jetson AGX Orin"),
        _card("rtx3090", (35.6, 142.3, 284.7), 936.0, _AMPERE, "RTX 3090"),
        _card("rtx4090", (82.6, 330.3, 660.6), 1008.0, _ADA, "RTX 4090"),
        _card("a100", (156.0, 312.0, 624.0), 2039.0, "NVIDIA A100 data sheet, 80GB SXM", "A100-SXM4-80GB"),
        _card("h100", (494.7, 989.4, 1978.9), 3350.0, f"NVIDIA H100 data sheet, SXM; {_HALVED}", "H100 80GB HBM3"),
        _card("h200", (494.7, 989.4, 1978.9), 4800.0, f"NVIDIA H200 data sheet, SXM; {_HALVED}", "H200"),
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


def device_of(gpu_name: str | None, board: str = "") -> Device | None:
    """The table's entry for this machine; None if the table lacks it.

    A card is found by its whole name, because a laptop's or a PCIe card's of the same number is another device. A
    Jetson is found by its board, and its fastest mode counts, since no mode may beat the bound.

    Args:
        gpu_name: what the driver calls the GPU; None without one.
        board: what the device tree calls the machine; empty for none.
    """
    plain = (gpu_name or "").removeprefix("NVIDIA ").removeprefix("GeForce ")
    known = (
        each
        for each in DEVICES.values()
        if (each.drivers_name and each.drivers_name == plain) or (each.board and each.board in board)
    )
    return next(known, None)
