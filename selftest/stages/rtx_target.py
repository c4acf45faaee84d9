"""Does TensorRT-RTX run on this card, and built for which target? Every way is tried on a graph of one convolution."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from defian_edge.export.engine.compiler import Target, import_tensorrt
from defian_edge.runtime.building.compiler import ANY, CURRENT, CompilerLog
from defian_edge.selftest.gpu import open_gpu
from defian_edge.selftest.protocol import CannotRun, out_of_memory

if TYPE_CHECKING:
    from types import ModuleType

    from defian_edge.selftest.gpu import Gpu
    from defian_edge.selftest.protocol import Record, Settings

FILE = "rtx-target.json"
SIDE = 64
COMPLAINTS = 6


def run(settings: Settings, record: Record) -> None:
    """Build, load and run for this GPU, for any, for its own capability and for the next lower one."""
    trt = import_tensorrt(Target.TENSORRT_RTX)
    known = sorted(int(name[2:]) for name in dir(trt.ComputeCapability) if name.startswith("SM") and name[2:].isdigit())
    record.figure("tensorrt_rtx", trt.__version__)
    record.figure("targets", known)
    with open_gpu() as gpu:
        own = 10 * gpu.capability[0] + gpu.capability[1]
        lower = max((each for each in known if each < own), default=None)
        ways: list[int | str] = [CURRENT, ANY, *([own] if own in known else []), *([lower] if lower else [])]
        works: list[int | str] = []
        for way in ways:
            verdict = _attempt(trt, gpu, way)
            record.figure(f"sm {way}", verdict)
            if verdict["runs"]:
                works.append(way)
            if verdict["error"] is not None:
                record.check(f"built for {way}: largest error over the largest value", verdict["error"], at_most=1e-2)
    fitting = [way for way in works if way in (CURRENT, ANY, own)]
    if not works:
        raise CannotRun(f"TensorRT-RTX {trt.__version__} has no target that runs on sm_{own}: see the figures.")
    if not fitting:
        raise CannotRun(f"Only what was built for sm_{lower} runs on sm_{own}, and the runtime takes no such engine.")
    (Path(settings.folder) / FILE).write_text(json.dumps(fitting), encoding="utf-8")


def fitting_target(settings: Settings) -> int | str:
    """What the stage found, for the stages after it.

    Raises:
        CannotRun: nothing that the runtime takes on this card.
    """
    try:
        found = json.loads((Path(settings.folder) / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = []
    if not found:
        raise CannotRun("The stage rtx-target found no target that runs on this card.")
    return found[0]


def _graph() -> bytes:
    """A 3x3 convolution of eight channels in FP16 with ReLU, dynamic height and width."""
    weights = np.random.default_rng(0).standard_normal((8, 8, 3, 3)).astype(np.float16)
    image = ir.val("image", ir.DataType.FLOAT16, ["n", 8, "h", "w"])
    weight = ir.val("weight", const_value=ir.tensor(weights, name="weight"))
    conv = ir.node("Conv", [image, weight], {"pads": [1, 1, 1, 1]})
    relu = ir.node("Relu", conv.outputs)
    relu.outputs[0].name = "result"
    relu.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    graph = ir.Graph(
        [image], list(relu.outputs), nodes=[conv, relu], initializers=[weight], opset_imports={"": 17}, name="target"
    )
    return ir.to_proto(ir.Model(graph, ir_version=8)).SerializeToString()


def _attempt(trt: ModuleType, gpu: Gpu, way: int | str) -> dict[str, Any]:
    """How far it comes, and what the compiler and the runtime say about it."""
    log = CompilerLog(trt)
    found: dict[str, Any] = {"builds": False, "loads": False, "runs": False, "error": None, "said": []}
    try:
        plan = _plan(trt, log, way)
        found["builds"] = plan is not None
        runtime = trt.Runtime(log.logger)
        engine = None if plan is None else runtime.deserialize_cuda_engine(plan)
        found["loads"] = engine is not None
        if engine is not None:
            found["error"] = _run(trt, gpu, engine)
            found["runs"] = found["error"] < 1e-2
    except Exception as error:
        if out_of_memory(str(error)):
            raise
        found["said"].append(f"{type(error).__name__}: {error}")
    levels = (trt.ILogger.Severity.WARNING, trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)
    found["said"] += [" ".join(text.split())[:400] for level, text in log.messages if level in levels][-COMPLAINTS:]
    return found


def _plan(trt: ModuleType, log: CompilerLog, way: int | str) -> bytes | None:
    builder = trt.Builder(log.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse(_graph()):
        return None
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("image", (1, 8, 8, 8), (1, 8, SIDE, SIDE), (1, 8, 2 * SIDE, 2 * SIDE))
    config.add_optimization_profile(profile)
    if way != ANY:
        config.num_compute_capabilities = 1
        name = "CURRENT" if way == CURRENT else f"SM{way}"
        config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)
    plan = builder.build_serialized_network(network, config)
    return None if plan is None else bytes(plan)


def _run(trt: ModuleType, gpu: Gpu, engine: Any) -> float:  # noqa: ANN401
    """The largest error against NumPy, relative to the largest value."""
    del trt
    context = engine.create_execution_context()
    generator = np.random.default_rng(1)
    image = generator.standard_normal((1, 8, SIDE, SIDE)).astype(np.float16)
    result = np.full_like(image, np.nan)
    source, target = gpu.put(image), gpu.put(result)
    done = (
        context.set_input_shape("image", image.shape),
        context.set_tensor_address("image", source),
        context.set_tensor_address("result", target),
        context.execute_async_v3(int(gpu.stream)),
    )
    if not all(done):
        raise RuntimeError(f"setting shape and addresses, and running, answered {done}")
    gpu.ask("cuStreamSynchronize", gpu.stream)
    gpu.get(target, result)
    weights = np.random.default_rng(0).standard_normal((8, 8, 3, 3)).astype(np.float16).astype(np.float64)
    padded = np.pad(image[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.maximum(np.einsum("chwij,ocij->ohw", windows, weights), 0.0)
    return float(np.abs(result[0].astype(np.float64) - expected).max() / np.abs(expected).max())
