"""Made-up results for the page and its plots."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from defian_edge.benchmark.measure.latency import Sampling, measure_latency
from defian_edge.benchmark.measure.memory import HostMemory, Memory
from defian_edge.benchmark.measure.quality import Quality, WorstImage
from defian_edge.benchmark.results import BenchResult, Measured
from defian_edge.calibration.drift.report import DriftReport, ImageDrift
from defian_edge.runtime.manifest import EngineFacts
from tests.benchmark.made_up import FakeClock, made_up
from tests.doubles.enlarger import Enlarger

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = ("defian-s-x2 (PyTorch)", "defian-s-x2.fp32.onnx", "a-network-with-a-rather-long-name-x2.int8.onnx")
IMAGES = ("photo-0", "photo-1", "photo-2")


def quality(name: str, offset: int, images: Sequence[str] = IMAGES, loss: float = 0.01) -> Quality:
    """A candidate that is off by so many grey levels in one corner, and loses that many dB more from image to image."""
    hr = np.full((200, 220, 3), 200, np.uint8)
    reference = np.full_like(hr, 120)
    candidate = reference.copy()
    candidate[150:160, 10:20] += np.uint8(offset)
    drifts = tuple(ImageDrift(image, 37 - loss * i * offset, 37.0, 0.95, 0.95, 60.0) for i, image in enumerate(images))
    return Quality(DriftReport(name, drifts), (999, offset), WorstImage(images[-1], hr, reference, candidate))


def made_up_result() -> BenchResult:
    """Three candidates on a made-up machine, and one that does not run."""
    clock = FakeClock()

    def working(seconds):
        return lambda images: (clock.work(seconds), images)[1]

    candidates = [made_up(name, working(0.1 / (1 + i))) for i, name in enumerate(NAMES)]
    latencies = measure_latency(candidates, (1, 90, 160), Sampling(20, 0, 0), clock)
    measured = [
        Measured(
            each,
            4_000_000,
            (latencies[each.name],),
            Memory(HostMemory(90_000_000, 130_000_000)),
            quality=quality(each.name, i),
        )
        for i, each in enumerate(candidates)
    ]
    gone = replace(made_up("engine", None), not_run="no NVIDIA GPU here")
    measured.append(Measured(gone, 1_000_000))
    remarks = ("<b>not bold</b> & unsteady", "a" * 200)
    return BenchResult(
        "python bench.py a b", {"cpu": "x", "gpu": None}, ("1x90x160",), tuple(measured), "3 images", remarks
    )


def with_images(result: BenchResult, images: Sequence[str], loss: float = 0.01) -> BenchResult:
    """The same with other images, the drift of each candidate and image another one."""
    measured = [
        each if each.quality is None else replace(each, quality=quality(each.candidate.name, index, images, loss))
        for index, each in enumerate(result.measured)
    ]
    return replace(result, measured=tuple(measured))


def planned(measured: Measured, activation_bytes: int) -> Measured:
    """The same as an engine whose compiler planned that much memory."""
    facts = EngineFacts("tensorrt", "10.3.0", "8.9", activation_bytes, None, 1, 1.0, 1)
    return replace(measured, candidate=replace(measured.candidate, manifest=replace(Enlarger().manifest, engine=facts)))
