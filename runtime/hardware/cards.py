"""Cards. A GeForce's rates are its multiprocessors times its boost clock times what one computes in a clock.

These rates are those of NVIDIA's whitepapers, which print the products for the largest cards of each architecture. Of
two rates for a type the faster counts, since a bound must not be beaten: FP16 with FP16 accumulation, FP32 as TF32.
"""

from __future__ import annotations

from dataclasses import replace

from .device import GIBI, GIGA, TERA, Device

GA102 = "NVIDIA Ampere GA102 GPU Architecture whitepaper, appendix A"
ADA = "NVIDIA Ada GPU Architecture whitepaper, appendix A"
TURING = "NVIDIA Turing GPU Architecture whitepaper, table 1"
BLACKWELL = "NVIDIA RTX Blackwell GPU Architecture whitepaper, appendix A"
_HALVED = "tensor-core rates halved where quoted with sparsity"
_SPECIFIED_BY_NVIDIA = "multiprocessors, boost clock and memory by NVIDIA's specifications of the card"
_SPECIFIED = "multiprocessors, boost clock and memory as reported at"
_RATES = {
    TURING: ((7, 5), 128, 1024, 2048, None),
    GA102: ((8, 6), 256, 1024, 2048, None),
    ADA: ((8, 9), 256, 1024, 2048, 2048),
    BLACKWELL: ((12, 0), 256, 1024, 2048, 2048),
}
"""Compute capability, and operations of a multiprocessor a clock: FP32 (TF32), FP16, INT8, FP8."""
# Name, multiprocessors, boost clock in MHz, memory in GB, GB/s, board power in W, and what the driver calls it.
_GEFORCES = {
    TURING: """
        rtx2060 30 1680 6 336 160 RTX 2060
        rtx2060-12 34 1650 12 336 184 RTX 2060
        rtx2060super 34 1650 8 448 175 RTX 2060 SUPER
        rtx2070 36 1710 8 448 185 RTX 2070
        rtx2070super 40 1770 8 448 215 RTX 2070 SUPER
        rtx2080 46 1800 8 448 225 RTX 2080
        rtx2080super 48 1815 8 496 250 RTX 2080 SUPER
        rtx2080ti 68 1635 11 616 260 RTX 2080 Ti
    """,
    GA102: """
        rtx3050-6 18 1470 6 168 70 RTX 3050
        rtx3050 20 1780 8 224 130 RTX 3050
        rtx3060-8 28 1780 8 240 170 RTX 3060
        rtx3060 28 1780 12 360 170 RTX 3060
        rtx3060ti 38 1670 8 448 200 RTX 3060 Ti
        rtx3070 46 1730 8 448 220 RTX 3070
        rtx3070ti 48 1770 8 608 290 RTX 3070 Ti
        rtx3080 68 1710 10 760 320 RTX 3080
        rtx3080-12 70 1710 12 912 350 RTX 3080
        rtx3080ti 80 1670 12 912 350 RTX 3080 Ti
        rtx3090 82 1695 24 936 350 RTX 3090
        rtx3090ti 84 1860 24 1008 450 RTX 3090 Ti
    """,
    ADA: """
        rtx4060 24 2460 8 272 115 RTX 4060
        rtx4060ti 34 2540 8 288 160 RTX 4060 Ti
        rtx4060ti-16 34 2540 16 288 165 RTX 4060 Ti
        rtx4070 46 2480 12 504 200 RTX 4070
        rtx4070super 56 2480 12 504 220 RTX 4070 SUPER
        rtx4070ti 60 2610 12 504 285 RTX 4070 Ti
        rtx4070tisuper 66 2610 16 672 285 RTX 4070 Ti SUPER
        rtx4080 76 2510 16 717 320 RTX 4080
        rtx4080super 80 2550 16 736 320 RTX 4080 SUPER
        rtx4090d 114 2520 24 1008 425 RTX 4090 D
        rtx4090 128 2520 24 1008 450 RTX 4090
    """,
    BLACKWELL: """
        rtx5050 20 2570 8 320 130 RTX 5050
        rtx5060 30 2500 8 448 145 RTX 5060
        rtx5060ti 36 2570 8 448 180 RTX 5060 Ti
        rtx5060ti-16 36 2570 16 448 180 RTX 5060 Ti
        rtx5070 48 2512 12 672 250 RTX 5070
        rtx5070ti 70 2452 16 896 300 RTX 5070 Ti
        rtx5080 84 2617 16 960 360 RTX 5080
        rtx5090 170 2407 32 1792 575 RTX 5090
    """,
}
_READ = {
    "rtx2060-12": "https://cpu-gpu.alldbin.com/graphics-card-comparison/GeForce-RTX-3070-16-GB-and-GeForce-RTX-2060-12-GB-"
    "comparison.html",
    "rtx3050-6": "https://hwsetup.it/news/reader.php?objid=35282",
    "rtx3050": "https://www.somagnews.com/geforce-rtx-3050-the-entry-graphics-card-for-ray-tracing-in-full-hd/",
    "rtx3060-8": "https://cputronic.com/en/gpu/nvidia-geforce-rtx-3060-8-gb",
    "rtx3080-12": "https://droix.net/geforce-rtx-3080-12-gb-launch-on-january-11/ (clock as the 10 GB card's)",
    "rtx4090d": "https://fpsbench.com/compare/gpu/nvidia-geforce-rtx-4090-d-vs-nvidia-geforce-rtx-5090",
    "rtx5050": "https://tweakers.net/nieuws/236558/nvidia-kondigt-rtx-5050-videokaart-met-8gb-gddr6-geheugen-aan-voor-259-"
    "euro.html",
}
"""Where the specifications of a card were read, if that was not NVIDIA's own page."""
_PRINTED = {"rtx3090", "rtx4090"}
"""Those of which the whitepaper prints the rates."""


def _geforce(row: str, whitepaper: str) -> Device:
    name, multiprocessors, megahertz, gigabytes, bandwidth, watts, drivers_name = row.split(maxsplit=6)
    capability, fp32, fp16, int8, fp8 = _RATES[whitepaper]
    specified = f"{_SPECIFIED} {_READ[name]}" if name in _READ else _SPECIFIED_BY_NVIDIA
    cycles = int(multiprocessors) * int(megahertz) * 1e6
    return Device(
        name=name,
        capability=capability,
        memory=int(gigabytes) * GIBI,
        bandwidth=int(bandwidth) * GIGA,
        source=whitepaper if name in _PRINTED else f"{whitepaper}: rates a clock; {specified}",
        fp32=cycles * fp32,
        fp16=cycles * fp16,
        int8=cycles * int8,
        fp8=None if fp8 is None else cycles * fp8,
        power=f"{watts} W",
        drivers_name=drivers_name,
    )


def _card(  # noqa: PLR0913, PLR0917 - a row of a table
    name: str,
    capability: tuple[int, int],
    teras: tuple[float | None, ...],
    gigabytes: int,
    bandwidth: float,
    watts: int,
    source: str,
    drivers_name: str,
) -> Device:
    fp32, fp16, int8, fp8 = (None if value is None else value * TERA for value in teras)
    return Device(
        name=name,
        capability=capability,
        memory=gigabytes * GIBI,
        bandwidth=bandwidth * GIGA,
        source=source,
        fp32=fp32,
        fp16=fp16,
        int8=int8,
        fp8=fp8,
        power=f"{watts} W",
        drivers_name=drivers_name,
    )


_H100 = (494.7, 989.4, 1978.9, 1978.9)
_A100 = (156.0, 312.0, 624.0, None)
CARDS = (
    *(
        _geforce(row, whitepaper)
        for whitepaper, rows in _GEFORCES.items()
        for row in filter(None, map(str.strip, rows.splitlines()))
    ),
    _card("t4", (7, 5), (8.1, 65.0, 130.0, None), 16, 320.0, 70, "NVIDIA T4 product brief", "Tesla T4"),
    _card("a2", (8, 6), (9.0, 18.0, 36.0, None), 16, 200.0, 60, f"NVIDIA A2 data sheet; {_HALVED}", "A2"),
    _card("a10", (8, 6), (62.5, 125.0, 250.0, None), 24, 600.0, 150, f"NVIDIA A10 data sheet; {_HALVED}", "A10"),
    _card("l4", (8, 9), (60.0, 121.0, 242.5, 242.5), 24, 300.0, 72, f"NVIDIA L4 data sheet; {_HALVED}", "L4"),
    _card("l40s", (8, 9), (183.0, 366.5, 733.0, 733.0), 48, 864.0, 350, f"NVIDIA L40S data sheet; {_HALVED}", "L40S"),
    _card("a100-40", (8, 0), _A100, 40, 1555.0, 400, "NVIDIA A100 data sheet, 40GB SXM", "A100-SXM4-40GB"),
    _card("a100", (8, 0), _A100, 80, 2039.0, 400, "NVIDIA A100 data sheet, 80GB SXM", "A100-SXM4-80GB"),
    _card("h100", (9, 0), _H100, 80, 3350.0, 700, f"NVIDIA H100 data sheet, SXM; {_HALVED}", "H100 80GB HBM3"),
    _card("h200", (9, 0), _H100, 141, 4800.0, 700, f"NVIDIA H200 data sheet, SXM; {_HALVED}", "H200"),
    replace(
        _card(
            *("gb10", (12, 1), (None, None, None, None), 128, 273.0, 140),
            "NVIDIA DGX Spark specifications; rates are published for FP4 with sparsity alone",
            "GB10",
        ),
        unified=True,
    ),
)
