"""The GPUs, from whoever knows them: NVML, nvidia-smi, the CUDA driver, and on a Jetson the kernel and tegrastats."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..device.context import MEMINFO, available_system_memory, total_system_memory
from ..device.nvml import open_every_gpu
from ..device.tegra import gpu_clocks, module_power
from .facts import Gpu
from .jetson import capability_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..device.nvml import Nvml
    from .facts import Jetson


def listed_by_nvml() -> tuple[list[Gpu], str]:
    """Every GPU that NVML lists, and in its own words why it lists none."""
    found, why = open_every_gpu()
    return [_of_nvml(each) for each in found], why


def _of_nvml(device: Nvml) -> Gpu:
    memory = device.memory()
    now, delivered = device.power_limits()
    return Gpu(
        name=device.model,
        source="NVML",
        uuid=device.uuid,
        capability=device.capability(),
        free=None if memory is None else memory[0],
        total=None if memory is None else memory[1],
        clock=device.clock(),
        most_clock=device.most_clock(),
        power=device.power(),
        power_limit=now,
        delivered_limit=delivered,
        temperature=device.temperature(),
        slowdown=device.slowdown_temperature(),
        throttles=tuple(sorted(device.throttles())),
    )


def with_cuda(known: Sequence[Gpu], devices: Sequence[dict[str, Any]]) -> list[Gpu]:
    """The GPUs in CUDA's order, with their capability, and whether their memory is the system's.

    They are told apart by UUID; of a MIG part that is the part's own. What CUDA does not see comes last.
    """
    rest, found = list(known), []
    for device in devices:
        capability = (int(device["capability"][0]), int(device["capability"][1]))
        same = [gpu for gpu in rest if _bare(gpu.uuid) == device["uuid"]]
        if not same and len(known) == len(devices) == 1:
            same = rest
        gpu = same[0] if same else Gpu(name=device["name"], source="CUDA driver", uuid=device["uuid"])
        rest = [each for each in rest if each is not gpu]
        total = gpu.total or device["total"]
        gpu = replace(gpu, capability=gpu.capability or capability, total=total, unified=device["unified"])
        found.append(_with_system_memory(gpu) if gpu.unified else gpu)
    return found + rest


def with_jetson(known: Sequence[Gpu], jetson: Jetson, line: str) -> list[Gpu]:
    """A Jetson's one GPU, with the clocks of the kernel and the power of the whole module from a line of tegrastats."""
    gpu = known[0] if known else Gpu(name=jetson.board, source="device tree")
    clocks = gpu_clocks() or {}
    heat = jetson.temperatures
    return [
        _with_system_memory(
            replace(
                gpu,
                capability=gpu.capability or capability_of(jetson.board),
                unified=True,
                clock=gpu.clock or clocks.get("now"),
                most_clock=gpu.most_clock or clocks.get("most"),
                power=gpu.power or module_power(line),
                temperature=gpu.temperature or heat.get("gpu") or heat.get("tj"),
                slowdown=gpu.slowdown or jetson.passive.get("gpu") or jetson.passive.get("tj"),
            )
        )
    ]


def _with_system_memory(gpu: Gpu) -> Gpu:
    """Memory that CPU and GPU share: all of it, and what any program can still have, file cache included."""
    free, total = available_system_memory(MEMINFO), total_system_memory(MEMINFO)
    return replace(gpu, free=free or gpu.free, total=total or gpu.total)


def _bare(uuid: str) -> str:
    return uuid.partition("-")[2].replace("-", "").lower() if uuid.startswith(("GPU-", "MIG-")) else uuid
