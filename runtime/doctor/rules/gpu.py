"""A GPU that is slower, hotter or fuller than it need be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rule import Rule, Verdict, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..facts import Facts, Gpu

NEAR_SLOWDOWN = 5.0
"""Degrees below the hardware's own limit from which on it is told."""
SHORT_OF_MEMORY = 1 << 30
"""Bytes: TensorRT-RTX plans 172.6 MB of activations for x2 in FP16 at 540x960 (README.md); a CUDA context, TensorRT's
libraries and frames come to it."""
LOWERED = 0.98


def throttling(facts: Facts) -> Iterator[Verdict]:
    """A clock that nothing holds down."""
    for index, gpu in enumerate(facts.gpus):
        if not gpu.throttles:
            continue
        heat = any("heat" in reason or "hardware" in reason for reason in gpu.throttles)
        cure = "nvidia-smi -q -d TEMPERATURE,PERFORMANCE (clean the fans, or cool the case)" if heat else _raise(gpu)
        yield yellow(f"gpu {index}", f"Its clock is held down by: {', '.join(gpu.throttles)}.", cure)


def _raise(gpu: Gpu) -> str:
    """Back to the limit that it was delivered with, if it is lower; nvidia-smi takes a UUID, and numbers by PCI."""
    if not _is_lowered(gpu):
        return "nvidia-smi -q -d POWER (it may be given more, to its Max Power Limit)"
    which = f" -i {gpu.uuid}" if gpu.uuid else ""
    return f"sudo nvidia-smi{which} -pl {gpu.delivered_limit:.0f}"


def _is_lowered(gpu: Gpu) -> bool:
    return bool(gpu.power_limit and gpu.delivered_limit and gpu.power_limit < LOWERED * gpu.delivered_limit)


def near_slowdown(facts: Facts) -> Iterator[Verdict]:
    """A chip that is cooler than where it slows itself down."""
    for index, gpu in enumerate(facts.gpus):
        if gpu.temperature is None or gpu.slowdown is None or gpu.temperature < gpu.slowdown - NEAR_SLOWDOWN:
            continue
        text = f"It is {gpu.temperature:.0f} C hot and slows down at {gpu.slowdown:.0f} C."
        cure = "cat /sys/devices/virtual/thermal/thermal_zone*/temp" if facts.jetson else "nvidia-smi -q -d TEMPERATURE"
        yield yellow(f"gpu {index}", text, f"{cure} (clean the fans, or cool the case)")


def lowered_power(facts: Facts) -> Iterator[Verdict]:
    """A power limit that nobody lowered."""
    for index, gpu in enumerate(facts.gpus):
        if _is_lowered(gpu):
            text = f"Its power limit is {gpu.power_limit:.0f} W; it was delivered with {gpu.delivered_limit:.0f} W."
            yield yellow(f"gpu {index}", text, _raise(gpu))


def little_memory(facts: Facts) -> Iterator[Verdict]:
    """A memory of which 1 GiB is free."""
    for index, gpu in enumerate(facts.gpus):
        if gpu.free is None or gpu.total is None or gpu.free >= SHORT_OF_MEMORY:
            continue
        what = "of the memory that CPU and GPU share" if gpu.unified else "of its memory"
        text = f"{gpu.free >> 20} MiB {what}, {gpu.total >> 20} MiB, are free."
        shared = "sudo systemctl isolate multi-user.target (ends the desktop); ps aux --sort=-rss"
        cure = shared if gpu.unified else "nvidia-smi --query-compute-apps=pid,name,used_memory --format=csv"
        yield yellow(f"gpu {index}", text, cure)


GPU_RULES = (
    Rule("throttling", "https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html", throttling),
    Rule("near-slowdown", "https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html", near_slowdown),
    Rule("lowered-power-limit", "https://docs.nvidia.com/deploy/nvidia-smi/index.html (Power Limit)", lowered_power),
    Rule("little-memory", "README.md (activation memory)", little_memory),
)
