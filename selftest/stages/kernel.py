"""The eigenvalue kernel: right on this card, and how near to the memory's speed it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin.device import load_kernels
from defian_edge.runtime.plugin.launch import Features
from defian_edge.selftest.gpu import open_gpu, scratch
from defian_edge.selftest.protocol import CannotRun
from defian_edge.selftest.stages.environment import copy_bandwidth, event_seconds, usable_torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from defian_edge.runtime.plugin.device import Kernels
    from defian_edge.selftest.gpu import Gpu
    from defian_edge.selftest.protocol import Record, Settings

SIZES = ((540, 960), (180, 320))
CHECKED = ((1, 32, 17, 23), (2, 5, 33, 65), (1, 32, 1, 2), (1, 64, 90, 160))
TOLERANCE = {"fp32": 1e-5, "fp16": 1e-3}
OUTGROW = 3
"""Buffers that take turns hold so many times the L2."""


def run(_settings: Settings, record: Record) -> None:
    """Check, then time, the kernel; then PyTorch's own way beside it."""
    with open_gpu() as gpu:
        try:
            kernels = load_kernels(gpu.driver)
        except DefianError as error:
            raise CannotRun(str(error)) from error
        for channels_last in (False, True):
            for precision in ("fp32", "fp16"):
                worst = max(error_of(gpu, kernels, shape, precision, channels_last=channels_last) for shape in CHECKED)
                layout = "channels-last" if channels_last else "linear"
                record.check(f"error over tolerance, {precision} {layout}", worst, at_most=1.0)
        ceiling = copy_bandwidth(gpu)
        record.figure("copy_bytes_per_second", ceiling)
        rows: list[dict[str, Any]] = []
        for height, width in SIZES:
            for channels in (32, 64):
                for precision in ("fp16", "fp32"):
                    for channels_last in (False, True):
                        features = Features(
                            1, channels, height, width, fp16=precision == "fp16", channels_last=channels_last
                        )
                        rows.append(_timed(gpu, kernels, features, ceiling))
                        record.figure("kernel", rows)
    record.figure("pytorch", _pytorch(record))


def _stored(features: np.ndarray, described: Features) -> np.ndarray:
    """As the kernel reads it; padding channels hold NaN, which must not show."""
    if not described.channels_last:
        return np.ascontiguousarray(features)
    batch, channels, height, width = features.shape
    stored = np.full((batch, height, width, described.pitch), np.nan, features.dtype)
    stored[..., :channels] = features.transpose(0, 2, 3, 1)
    return stored


def error_of(
    gpu: Gpu, kernels: Kernels, shape: tuple[int, int, int, int], precision: str, *, channels_last: bool
) -> float:
    """The largest error as a share of what docs/plugin.md allows; the reference is computed in FP64."""
    generator = np.random.default_rng(0)
    dtype = np.float16 if precision == "fp16" else np.float32
    features = generator.standard_normal(shape).astype(dtype)
    bias = generator.standard_normal((3, 3, shape[1])).astype(np.float32)
    described = Features(*shape, fp16=precision == "fp16", channels_last=channels_last)
    with scratch(gpu) as inner:
        maps = np.full((shape[0], 3, *shape[2:]), np.nan, dtype)
        addresses = inner.put(_stored(features, described)), inner.put(bias)
        output = inner.put(maps)
        kernels.launch(described, addresses, output, int(inner.stream))
        inner.ask("cuStreamSynchronize", inner.stream)
        inner.get(output, maps)
    expected = eigenvalue_maps(features.astype(np.float64), bias.astype(np.float64))
    allowed = TOLERANCE[precision] * (np.abs(expected) + 0.1 * np.abs(expected).max())
    share = np.abs(maps.astype(np.float64) - expected) / allowed
    return float("nan") if np.isnan(share).any() else float(share.max())


def eigenvalue_maps(features: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Channel mean of the larger Hessian eigenvalue at dilations 1, 2, 3: [N, C, H, W], [3, 3, C] -> [N, 3, H, W]."""
    height, width = features.shape[2:]
    padded = np.pad(features, ((0, 0), (0, 0), (3, 3), (3, 3)))

    def at(down: int, right: int) -> np.ndarray:
        return padded[:, :, 3 + down : 3 + down + height, 3 + right : 3 + right + width]

    maps = []
    for index, d in enumerate((1, 2, 3)):
        xx, yy, xy = (values[None, :, None, None] for values in bias[index])
        fxx = at(0, -d) - 2 * at(0, 0) + at(0, d) + xx
        fyy = at(-d, 0) - 2 * at(0, 0) + at(d, 0) + yy
        fxy = at(-d, -d) - at(-d, d) - at(d, -d) + at(d, d) + xy
        maps.append(((fxx + fyy + np.sqrt((fxx - fyy) ** 2 + 4 * fxy**2)) / 2).mean(axis=1))
    return np.stack(maps, axis=1)


def _timed(gpu: Gpu, kernels: Kernels, features: Features, ceiling: float) -> dict[str, Any]:
    pixels = features.batch * features.height * features.width
    read = pixels * features.pitch * features.element_bytes
    written = pixels * 3 * features.element_bytes
    turns = max(4, -(-OUTGROW * gpu.attribute("L2_CACHE_SIZE") // read))
    values = np.random.default_rng(0).standard_normal(read // features.element_bytes)
    stored = values.astype(np.float16 if features.fp16 else np.float32)
    with scratch(gpu) as inner:
        bias = inner.put(np.zeros((3, 3, features.channels), np.float32))

        def launch(source: int, target: int) -> Callable[[], None]:
            return lambda: kernels.launch(features, (source, bias), target, int(inner.stream))

        buffers = [(inner.put(stored), inner.allocate(written)) for _ in range(turns)]
        seconds = inner.seconds([launch(*pair) for pair in buffers])
    return {
        "shape": f"1x{features.channels}x{features.height}x{features.width}",
        "precision": "fp16" if features.fp16 else "fp32",
        "layout": "channels-last" if features.channels_last else "linear",
        "microseconds": seconds * 1e6,
        "least_bytes": read + written,
        "share_of_copy": (read + written) / seconds / ceiling,
    }


def _pytorch(record: Record) -> list[dict[str, Any]]:
    """PyTorch's filters of the same network, eager and compiled, 32 channels, 540x960; nothing without PyTorch."""
    torch = usable_torch()
    if torch is None:
        return []
    from defian_edge.models.defian import DeFiAM

    rows = []
    module = DeFiAM(32, 0).cuda().requires_grad_(requires_grad=False)
    for precision, dtype in (("fp16", torch.float16), ("fp32", torch.float32)):
        module = module.to(dtype)
        features = torch.randn(4, 1, 32, 540, 960, device="cuda", dtype=dtype)
        compiled: Any = torch.compile(module.eigenvalue_maps)
        for name, function in (("eager", module.eigenvalue_maps), ("compiled", compiled)):
            try:
                seconds = event_seconds(torch, lambda f=function, given=features: [f(x) for x in given]) / len(features)
            except Exception as error:
                if name == "eager":
                    raise
                record.note(f"torch.compile failed: {type(error).__name__}: {error}")
                continue
            rows.append({"way": name, "precision": precision, "microseconds": seconds * 1e6})
    return rows
