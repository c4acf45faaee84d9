"""What is measured on: card, driver, versions, clocks; and the two ceilings, copying and multiplying."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from defian_edge.benchmark.environment import describe_environment
from defian_edge.runtime.device.nvml import open_nvml
from defian_edge.selftest.gpu import open_gpu, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from defian_edge.selftest.gpu import Gpu
    from defian_edge.selftest.protocol import Record, Settings

PACKAGES = (
    "tensorrt_rtx_cu13",
    "tensorrt_cu13",
    "tensorrt_cu12",
    "pycuda",
    "cuda-bindings",
    "nvidia-cuda-nvrtc",
    "nvidia-ml-py",
    "polygraphy",
    "onnx-ir",
    "onnxscript",
)
LARGE, MIDDLE = 1 << 30, 36 << 20
SIDE = 8192


def run(settings: Settings, record: Record) -> None:
    """Everything that a reader needs to compare two reports."""
    machine: dict[str, Any] = describe_environment()
    machine["commit"] = settings.commit or machine["commit"]
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
        for sentence in newer_than_the_driver(card["driver_cuda"], machine["packages"], _torchs_cuda()):
            record.note(sentence)
        copies = _copies(gpu)
        record.figure("copy_bytes_per_second", copies)
        record.check("bandwidth of a copy in GB/s", max(copies.values()) / 1e9, at_least=1.0)
        rate = pointwise_bandwidth(min(LARGE, gpu.free_bytes() // 4) // 4096 * 4096)
        if rate is not None:
            record.figure("pointwise_bytes_per_second", rate)
    rate = _matrix_rate()
    if rate is not None:
        record.figure("fp16_matrix_flop_per_second", rate)


def newer_than_the_driver(
    driver_cuda: str, packages: Mapping[str, str | None], built_for: str | None = None
) -> list[str]:
    """Sentences about packages of a CUDA major version that the driver does not have yet; they cannot work.

    ``built_for`` is the CUDA version of PyTorch, None without one.
    """
    driver = int(driver_cuda.partition(".")[0])
    found = []
    for name in ("cuda-bindings", "nvidia-cuda-nvrtc"):
        major = int((packages.get(name) or "0").partition(".")[0])
        if major > driver:
            other = f"'{name}=={driver}.*'" if name == "cuda-bindings" else f"{name}-cu{driver}"
            found.append(
                f"The driver supports CUDA {driver_cuda}, and {name} {packages[name]} is of CUDA {major}: update the "
                f"driver, or pip install {other}."
            )
    if built_for and int(built_for.partition(".")[0]) > driver:
        found.append(
            f"The driver supports CUDA {driver_cuda}, and this PyTorch is built for CUDA {built_for}: update the "
            f"driver, or install a PyTorch for CUDA {driver}."
        )
    return found


def _copies(gpu: Gpu) -> dict[str, float]:
    """Read and written, by the bytes of one copy; half of what is free at most."""
    found = {}
    for size, pairs in ((LARGE, 1), (MIDDLE, 8)):
        fitting = min(size, gpu.free_bytes() // (4 * pairs)) // 4096 * 4096
        with scratch(gpu) as inner:
            found[str(fitting)] = inner.copy_bandwidth(fitting, pairs)
    return found


def copy_bandwidth(gpu: Gpu) -> float:
    """Bytes per second, read and written, of one large copy: the ceiling that shares are given of.

    The faster of the driver's copy and of PyTorch's pointwise kernel, where there is PyTorch: on an H100 the driver's
    reaches 2.4 TB/s and a kernel 3.0.
    """
    size = min(LARGE, gpu.free_bytes() // 4) // 4096 * 4096
    with scratch(gpu) as inner:
        by_driver = inner.copy_bandwidth(size)
    return max(by_driver, pointwise_bandwidth(size) or 0.0)


def pointwise_bandwidth(size: int) -> float | None:
    """Bytes per second, read and written, of a kernel that scales ``size`` bytes of FP32; None without PyTorch."""
    torch = usable_torch()
    if torch is None:
        return None
    seconds = _scaling_seconds(torch, size // 4)
    torch.cuda.empty_cache()  # the stages after it allocate through the driver
    return 2 * size / seconds


def _scaling_seconds(torch: Any, count: int) -> float:  # noqa: ANN401
    source = torch.ones(count, device="cuda")
    target = torch.empty_like(source)
    return event_seconds(torch, lambda: torch.mul(source, 2.0, out=target))


def _torchs_cuda() -> str | None:
    try:
        import torch
    except (ImportError, OSError):
        return None
    return torch.version.cuda


def usable_torch() -> Any:  # noqa: ANN401 - an optional package
    """PyTorch if it is here, loads and finds a GPU; else None."""
    try:
        import torch
    except (ImportError, OSError):
        return None
    return torch if torch.cuda.is_available() else None


def event_seconds(torch: Any, work: Callable[[], object], repeats: int = 10) -> float:  # noqa: ANN401
    """Mean seconds of a call that queues work on PyTorch's stream, between events, after three that are not timed."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(3):
        work()
    begin.record()
    for _ in range(repeats):
        work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3 / repeats


def _matrix_rate() -> float | None:
    """FP16 operations per second of a large product of random matrices by PyTorch; None without it."""
    torch = usable_torch()
    if torch is None:
        return None
    left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.float16) for _ in range(2))
    return 2 * SIDE**3 / event_seconds(torch, lambda: torch.matmul(left, right))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
