"""The graphs by ONNX Runtime's CUDA provider: real FP16 arithmetic, without any engine builder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from runtime.errors import DefianError
from runtime.onnx_session import OnnxSession
from selftest.engines import against_emulation, bench
from selftest.pictures import MODELS, SIZES, graphs_of, scale_of
from selftest.protocol import CannotRun

if TYPE_CHECKING:
    from pathlib import Path

    from selftest.protocol import Record, Settings

PROVIDER = "CUDAExecutionProvider"
RUNS = 15


def run(settings: Settings, record: Record) -> None:
    """Pictures first, then the network alone with its image on the device, then ``bench.py`` from host to host."""
    if PROVIDER not in onnxruntime.get_available_providers():
        raise CannotRun(f"onnxruntime {onnxruntime.__version__} has no CUDA provider: install onnxruntime-gpu.")
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    record.figure("onnxruntime", onnxruntime.__version__)
    pictures: dict[str, Any] = {}
    alone: list[dict[str, Any]] = []
    for model in MODELS:
        usable: list[Path] = []
        for graph in graphs_of(settings, model):
            try:
                with OnnxSession(graph, "cuda") as session:
                    record.note(f"{graph.name}: {session.describe()}")
                    found = against_emulation(settings, record, graph.name, graph, session, scale_of(model))
            except DefianError as error:
                record.note(f"{graph.name}: {error}")
                if not pictures and PROVIDER in str(error):
                    raise CannotRun(str(error)) from error
                continue
            pictures[graph.name] = found
            record.figure("against_emulation", pictures)
            usable.append(graph)
            alone += _alone(graph, model)
            record.figure("network_alone", alone)
        if usable:
            record.figure(f"bench {model}", bench(settings, record, usable, scale_of(model), memory=False))


def _alone(graph: Path, model: str) -> list[dict[str, Any]]:
    """Milliseconds with input and output on the device, launches included: median of some runs, by the host's clock."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(str(graph), options, providers=[PROVIDER])
    rows = []
    for height, width in SIZES:
        image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        binding = session.io_binding()
        binding.bind_ortvalue_input(
            session.get_inputs()[0].name, onnxruntime.OrtValue.ortvalue_from_numpy(image, "cuda", 0)
        )
        binding.bind_output(session.get_outputs()[0].name, "cuda")
        taken = []
        for _ in range(RUNS + 3):
            begun = time.perf_counter()
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            taken.append(time.perf_counter() - begun)
        rows.append(
            {
                "name": graph.name,
                "model": model,
                "shape": f"1x{height}x{width}",
                "milliseconds": 1e3 * float(np.median(taken[3:])),
            }
        )
    return rows
