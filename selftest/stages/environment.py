"""What is measured on: card, driver, versions, clocks; and the two ceilings, copying and multiplying."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from benchmark.environment import describe_environment
from benchmark.gpu.nvml import open_nvml
from selftest.gpu import open_gpu, scratch

if TYPE_CHECKING:
    from typing import Any

    from selftest.gpu import Gpu
    from selftest.protocol import Record, Settings

PACKAGES = ("pycuda", "cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-ml-py", "polygraphy", "onnx-ir", "onnxscript")
LARGE, MIDDLE = 1 << 30, 36 << 20
SIDE = 8192


def run(_settings: Settings, record: Record) -> None:
    """Everything that a reader needs to compare two reports."""
    machine: dict[str, Any] = describe_environment()
    machine["packages"] |= {name: _version(name) for name in PACKAGES}
    nvml = open_nvml()
    machine["nvml"] = None if nvml is None else nvml.name
    record.figure("machine", machine)
    with open_gpu() as gpu:
        major, minor = gpu.capability
        name = bytes(gpu.ask("cuDeviceGetName", 256, gpu.ask("cuDeviceGet", 0))).split(b"\0")[0].decode()
        card = {
            "name": name,
            "capability": f"{major}.{minor}",
            "driver_cuda": _cuda(int(gpu.ask("cuDriverGetVersion"))),
            "multiprocessors": gpu.attribute("MULTIPROCESSOR_COUNT"),
            "l2_bytes": gpu.attribute("L2_CACHE_SIZE"),
            "total_bytes": int(gpu.ask("cuMemGetInfo")[1]),
            "free_bytes": gpu.free_bytes(),
        }
        record.figure("machine", machine | {"card": card})
        record.figure("copy_bytes_per_second", _copies(gpu))
    rate = _matrix_rate()
    if rate is not None:
        record.figure("fp16_matrix_flop_per_second", rate)


def _copies(gpu: Gpu) -> dict[str, float]:
    """Read and written, by the bytes of one copy; half of what is free at most."""
    found = {}
    for size, pairs in ((LARGE, 1), (MIDDLE, 8)):
        fitting = min(size, gpu.free_bytes() // (4 * pairs)) // 4096 * 4096
        with scratch(gpu) as inner:
            found[str(fitting)] = inner.copy_bandwidth(fitting, pairs)
    return found


def copy_bandwidth(gpu: Gpu) -> float:
    """Bytes per second, read and written, of one large copy: the ceiling that shares are given of."""
    with scratch(gpu) as inner:
        return inner.copy_bandwidth(min(LARGE, gpu.free_bytes() // 4) // 4096 * 4096)


def _matrix_rate() -> float | None:
    """FP16 operations per second of a large product of random matrices by PyTorch; None without it."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.float16) for _ in range(2))
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(3):
        torch.matmul(left, right)
    begin.record()
    for _ in range(10):
        torch.matmul(left, right)
    end.record()
    torch.cuda.synchronize()
    return 10 * 2 * SIDE**3 / (begin.elapsed_time(end) / 1e3)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
