"""What other quantisers cost on the same checkpoint, photos and images; in an environment of its own.

``python -m venv build/quantisers && build/quantisers/bin/pip install -r tools/quantisers.txt``, then
``build/quantisers/bin/python tools/quantisers.py --model defian-s-x2`` from the repository's root.
"""

from __future__ import annotations

import defian_edge.runtime.onnx_runtime  # noqa: F401 - turns ONNX Runtime's telemetry off, before it is imported below

# isort: split
import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.table import Table

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.drift.report import measure_drift
from defian_edge.calibration.photos import calibration_set, evaluation_pairs
from defian_edge.export.engine.lowering import inline_functions
from defian_edge.export.graph import copy_of
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import Scope
from defian_edge.export.reference import reference_evaluations
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.tables import DRIFT_COLUMNS, drift_cells
from defian_edge.export.trace.network import trace
from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.arguments import path_of
from defian_edge.runtime.errors import DefianError
from tools.study import add_calibration, add_model_and_images, table_or_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

AT_ONCE = 5
"""Patches whose activations ONNX Runtime keeps at once. Its histograms would keep all, 14 GB of 48 patches."""
MODEL_OPTIMIZER = ("max", "entropy")


class Patches(CalibrationDataReader):
    """Feeds uint8 patches one by one."""

    def __init__(self, patches: Sequence[np.ndarray]) -> None:
        self._rest = iter(patches)

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        """The next patch as a batch of one, or None at the end."""
        patch = next(self._rest, None)
        return None if patch is None else {"image": patch[None]}


def with_onnx_runtime(plain: Path, out: Path, patches: Sequence[np.ndarray]) -> None:
    """ONNX Runtime's static quantiser: every convolution, Q/DQ, min-max, symmetric, one weight scale per channel."""
    prepared = out.with_suffix(".prepared.onnx")
    at_once = next(
        count for count in range(AT_ONCE, AT_ONCE + len(patches) + 1) if len(patches) % count
    )  # else it fails
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared), str(out), Patches(patches),
        quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"], per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
        extra_options={
            "ActivationSymmetric": True, "WeightSymmetric": True,
            "CalibMaxIntermediateOutputs": at_once,
        },
    )  # fmt: skip


def with_model_optimizer(plain: Path, out: Path, patches: Sequence[np.ndarray], method: str) -> None:
    """NVIDIA Model Optimizer as it comes, calibrated on the CPU, FP32 elsewhere.

    It wants one array: patches of small photos are cropped to the size that all have.

    Raises:
        DefianError: it is not installed here.
    """
    try:
        from modelopt.onnx.quantization import quantize  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DefianError(
            "NVIDIA Model Optimizer is not installed here.",
            "It wants an environment of its own: pip install -r tools/quantisers.txt",
        ) from None
    height, width = (min(patch.shape[axis] for patch in patches) for axis in (0, 1))
    images = np.stack([patch[:height, :width] for patch in patches])
    quantize(
        str(plain), quantize_mode="int8", calibration_data={"image": images}, calibration_method=method,
        calibration_eps=["cpu"], high_precision_dtype="fp32", output_path=str(out), log_level="ERROR",
    )  # fmt: skip


def contenders() -> Iterator[tuple[str, Callable[[Path, Path, Sequence[np.ndarray]], None]]]:
    """Name and function of every quantiser."""
    yield "ONNX Runtime quantize_static, min-max", with_onnx_runtime
    for method in MODEL_OPTIMIZER:
        yield f"Model Optimizer, {method}", partial(with_model_optimizer, method=method)


def compare(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """One row per quantiser, then one per scope of this project."""
    checkpoint = load_checkpoint(resolve_model(options.model))
    scale = checkpoint.architecture.scale
    pairs = evaluation_pairs(scale, options.dataset, options.lr, options.hr)
    chosen = calibration_set(options.calibration, scale, options.patches)
    graph = trace(checkpoint)
    references = reference_evaluations(checkpoint.network(), (pair.lr for pair in pairs))

    def row(name: str, model: ir.Model, seconds: float) -> tuple[str, ...]:
        report = measure_drift(name, GraphEvaluator(model), Reference(pairs, references, scale))
        convolutions = [node for node in model.graph if node.op_type == "Conv"]
        int8 = sum(_reads_int8(node) for node in convolutions)
        return name, f"{int8} of {len(convolutions)}", *drift_cells(report), f"{seconds:.0f}"

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        onnx.save(ir.to_proto(inline_functions(copy_of(graph))), plain)
        patches = list(chosen)
        for name, quantise in contenders():
            if options.only not in name:
                continue
            out, start = plain.with_name("quantised.onnx"), time.monotonic()
            quantise(plain, out, patches)
            yield row(name, ir.from_proto(onnx.load(out)), time.monotonic() - start)
    apply_rewrites(graph)
    for scope in Scope:
        name, start = f"this project, {scope.value}", time.monotonic()
        if options.only in name:
            model = calibrate(graph, chosen, Recipe(scope=scope)).variant().model
            yield row(name, model, time.monotonic() - start)


def _reads_int8(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs[:2] if value is not None]
    return all(producer is not None and producer.op_type == "DequantizeLinear" for producer in producers)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_and_images(parser)
    add_calibration(parser)
    dataset = path_of("--dataset")
    parser.add_argument("--dataset", type=dataset, help="folder of HR images; default: bundled photos")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    table = Table("quantiser", "INT8 conv", *DRIFT_COLUMNS, "seconds")
    with table_or_error(table):
        for cells in compare(parser.parse_args(arguments)):
            table.add_row(*cells)


if __name__ == "__main__":
    main()
