"""The reference network in PyTorch on the GPU: the speed to beat, and what FP16 on its matrix units costs in dB."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from defian_edge.calibration.drift.evaluator import Evaluation
from defian_edge.calibration.drift.report import report_of
from defian_edge.export.reference import reference_evaluations
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.models.defian import RGB_MEAN, RGB_STD, DeFiAN
from defian_edge.selftest.pictures import MODELS, SIZES, pairs_of, scale_of
from defian_edge.selftest.protocol import CannotRun

if TYPE_CHECKING:
    from defian_edge.selftest.protocol import Record, Settings

DRIFT_FP32, DRIFT_FP16 = 0.002, 0.05
"""dB that a picture may lose; FP32 differs from the CPU's by the order of its sums."""
SAMPLES, WARM_UP = 20, 3


class Upscaler(nn.Module):
    """uint8 [N, 3, H, W] to uint8 [N, 3, sH, sW] on the device, as a graph does it.

    The colour constants live on the device: ``models.defian.normalise`` takes them from the host at every call, which
    a CUDA graph cannot capture.
    """

    def __init__(self, network: DeFiAN, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self._dtype = network, dtype
        device = next(network.parameters()).device
        self._mean, self._std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (RGB_MEAN, RGB_STD))

    def values(self, image: torch.Tensor) -> torch.Tensor:
        """0 to 255, neither clamped nor rounded, FP32."""
        rgb = ((image.float() / 255.0 - self._mean) / self._std).to(self._dtype)
        if self._dtype is torch.float16:
            rgb = rgb.to(memory_format=torch.channels_last)
        return (self.network(rgb).float() * self._std + self._mean) * 255.0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.values(image).clamp(0.0, 255.0).round().to(torch.uint8)


def run(settings: Settings, record: Record) -> None:
    """Drift first, then latency; the compiled network last, as compiling takes the longest."""
    if not torch.cuda.is_available():
        raise CannotRun("This PyTorch finds no GPU.")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        ways = {model: _ways(model) for model in MODELS}
        for model in MODELS:
            _drift(settings, record, model, ways[model])
        for name, captured in (("fp16", True), ("fp16", False), ("fp32", True), ("fp32", False)):
            torch.backends.cudnn.benchmark = name == "fp16"  # the search takes minutes in FP32
            for model in MODELS:
                rows += _rows(model, name, ways[model][name], captured=captured)
                record.figure("latency", rows)
        for model in MODELS:
            try:
                _compile(ways[model]["fp16"].network)
                rows += _rows(model, "fp16, compiled", ways[model]["fp16"], captured=True)
            except Exception as error:
                record.note(f"torch.compile failed: {type(error).__name__}: {error}")
                break
            record.figure("latency", rows)


def _ways(model: str) -> dict[str, Upscaler]:
    checkpoint = load_checkpoint(resolve_model(model))
    return {
        "fp32": Upscaler(checkpoint.network().cuda(), torch.float32),
        "fp16": Upscaler(
            checkpoint.network().cuda().half().to(memory_format=torch.channels_last),  # pyright: ignore[reportCallIssue]
            torch.float16,
        ),
    }


def _compile(network: DeFiAN) -> None:
    """The blocks, which all share one compiled function; the whole network would take minutes."""
    for module in network.body:
        for block in module.body_block:  # pyright: ignore[reportGeneralTypeIssues, reportAttributeAccessIssue]
            block.compile(dynamic=True)
        compiled: Any = torch.compile(module.eigenvalue_maps, dynamic=True)  # pyright: ignore[reportCallIssue, reportArgumentType]
        module.eigenvalue_maps = compiled


def _drift(settings: Settings, record: Record, model: str, ways: dict[str, Upscaler]) -> None:
    scale = scale_of(model)
    pairs = pairs_of(settings, scale)
    references = reference_evaluations(load_checkpoint(resolve_model(model)).network(), (pair.lr for pair in pairs))
    for name, limit in (("fp32", DRIFT_FP32), ("fp16", DRIFT_FP16)):
        results = []
        for pair in pairs:
            image = torch.from_numpy(pair.lr).cuda().permute(2, 0, 1)[None]
            values = ways[name].values(image)[0].permute(1, 2, 0).cpu().numpy()
            clamped = np.clip(values, 0.0, 255.0)
            results.append(Evaluation(np.round(clamped).astype(np.uint8), bool(np.isfinite(values).all()), clamped))
        summary = report_of(f"{model} {name}", results, references, pairs, scale).summary()
        record.figure(f"drift {model} {name}", summary)
        worst = summary["worst_drift_db"]
        record.check(f"{model} {name}, worst drift in dB", float("nan") if worst is None else worst, at_most=limit)


def _rows(model: str, name: str, way: Upscaler, *, captured: bool) -> list[dict[str, Any]]:
    rows = []
    for height, width in SIZES:
        image = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, device="cuda")
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            milliseconds = _captured(way, image) if captured else _eager(way, image)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break  # the sizes after it are larger
        rows.append(
            {
                "model": model,
                "way": f"{name}{', CUDA graph' if captured else ''}",
                "shape": f"1x{height}x{width}",
                "milliseconds": milliseconds,
                "peak_bytes": torch.cuda.max_memory_allocated() - before,
            }
        )
    return rows


def _eager(way: Upscaler, image: torch.Tensor) -> float:
    return _median_milliseconds(lambda: way(image))


def _captured(way: Upscaler, image: torch.Tensor) -> float:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            way(image)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        way(image)
    taken = _median_milliseconds(graph.replay)
    del graph
    return taken


def _median_milliseconds(work: Any) -> float:  # noqa: ANN401 - any call
    for _ in range(WARM_UP):
        work()
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(SAMPLES)]
    for begin, end in marks:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in marks)
