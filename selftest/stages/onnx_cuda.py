"""The graphs by ONNX Runtime's CUDA provider: real FP16 arithmetic, without any engine builder."""

from __future__ import annotations

import time
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.runtime.backends import GraphBackend
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.onnx_runtime import import_onnxruntime
from defian_edge.runtime.onnx_session import OnnxSession
from defian_edge.selftest.engines import against_emulation, bench
from defian_edge.selftest.pictures import MODELS, SIZES, graphs_of, scale_of
from defian_edge.selftest.protocol import CannotRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from defian_edge.selftest.protocol import Record, Settings

PROVIDER = "CUDAExecutionProvider"
RUNS = 15
SIZES_IN_TURN = (SIZES[2], SIZES[0], SIZES[3], SIZES[1])
"""All graphs at one size before any at the next: what compares them comes first."""


def run(settings: Settings, record: Record) -> None:
    """Pictures, then the network alone with its image on the device, then ``bench.py`` from host to host."""
    onnxruntime = import_onnxruntime()
    if PROVIDER not in onnxruntime.get_available_providers():
        raise CannotRun(f"onnxruntime {onnxruntime.__version__} has no CUDA provider: install onnxruntime-gpu.")
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    record.figure("onnxruntime", onnxruntime.__version__)
    record.note("FP32 convolutions may run as TF32: ONNX Runtime's default on cards that have it.")
    pictures: dict[str, Any] = {}
    alone: list[dict[str, Any]] = []
    usable: dict[str, list[Path]] = {model: [] for model in MODELS}
    graphs = list(_in_turn({model: graphs_of(settings, model, first="fp16") for model in MODELS}))
    for model, graph in graphs:
        try:
            with OnnxSession(graph, GraphBackend(provider="cuda")) as session:
                record.note(f"{graph.name}: {session.describe()}")
        except DefianError as error:
            if not pictures and "can only use" in str(error):
                raise CannotRun(str(error)) from error
            record.note(f"refused: {graph.name}: {error}")
            continue
        run_graph = _runner(_session(graph, "HEURISTIC"))
        pictures[graph.name] = against_emulation(settings, record, graph.name, graph, run_graph, scale_of(model))
        record.figure("against_emulation", pictures)
        usable[model].append(graph)
    record.check("graphs that run", len(pictures), at_least=len(graphs))
    for size in SIZES_IN_TURN:
        for model, graph in _in_turn(usable):
            alone.append(_alone(graph, model, size))
            record.figure("network_alone", alone)
    for model in MODELS:
        if usable[model]:
            record.figure(f"bench {model}", bench(settings, record, usable[model], scale_of(model)))


def _in_turn(graphs: dict[str, list[Path]]) -> Iterator[tuple[str, Path]]:
    """Model and graph, the first graph of every model before any second one."""
    for each in zip_longest(*graphs.values()):
        yield from ((model, graph) for model, graph in zip(graphs, each, strict=True) if graph is not None)


def _session(graph: Path, search: str) -> Any:  # noqa: ANN401 - an InferenceSession
    """``search`` is how convolution algorithms are found, for every shape anew: EXHAUSTIVE takes seconds a shape."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    providers = [(PROVIDER, {"cudnn_conv_algo_search": search})]
    session = onnxruntime.InferenceSession(str(graph), options, providers=providers)
    session.disable_fallback()  # a run that the provider fails would be done again on the CPU, and compared as CUDA's
    if session.get_providers()[0] != PROVIDER:
        raise CannotRun(f"ONNX Runtime can only use {session.get_providers()[0]} here.")
    return session


def _runner(session: Any) -> Callable[[np.ndarray], np.ndarray]:  # noqa: ANN401
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: np.ascontiguousarray(images)})[0]


def _alone(graph: Path, model: str, size: tuple[int, int]) -> dict[str, Any]:
    """Milliseconds with input and output on the device: median of some runs as the runtime opens it, by the host."""
    session = _session(graph, "EXHAUSTIVE")
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    binding = session.io_binding()
    value = import_onnxruntime().OrtValue.ortvalue_from_numpy(image, "cuda", 0)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
    binding.bind_output(session.get_outputs()[0].name, "cuda")
    taken = []
    for _ in range(RUNS + 3):
        begun = time.perf_counter()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        taken.append(time.perf_counter() - begun)
    shape = f"1x{size[0]}x{size[1]}"
    return {"name": graph.name, "model": model, "shape": shape, "milliseconds": 1e3 * float(np.median(taken[3:]))}
