"""An ONNX file that was given: what is in it, what of that cannot be exported, and its operators in our version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants

from defian_edge.export.graph import OPSET
from defian_edge.export.source.sizes import one_line
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_BYTES = 1 << 30
"""Of a file and the data beside it: a graph is written as one file, which protobuf limits to 2 GiB, and held in memory
in every precision."""
STANDARD = frozenset({"", "ai.onnx"})
OLDEST = 7
"""The opset from which ONNX Runtime runs graphs, and its converter converts them."""
RESIZE_SAYS = 11
"""The opset from which Resize says where it samples."""
SAMPLED = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
"""Where it sampled before: at the place in the output divided by the scale."""
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
QUANTISED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
     "MatMulInteger"}
)  # fmt: skip
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""What reads weights, which are finite; elsewhere an infinity may be meant, as in a mask."""
WITH_BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
FP32_HINT = "Export the network in FP32: the precisions are made here, and their drift measured."


def read_given(path: Path) -> onnx.ModelProto:
    """Read and check a FP32 super-resolution graph, the data beside it included.

    Raises:
        DefianError: it is no ONNX file, too large, or holds what cannot be exported; the message names it.
    """
    model = _loaded(path)
    _require_one_picture(model, path)
    _load_data_beside(model, path)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise DefianError(f"{path} is no valid ONNX graph: {one_line(error)}") from error
    _require_known_operators(model, path)
    _require_finite_fp32(model, path)
    return model


def in_our_opset(model: onnx.ModelProto) -> ir.Model:
    """The same graph in this project's opset, functions inlined, constants folded.

    Operators of a newer opset that are the same in ours stay as they are. That the result is the same is measured
    afterwards, whichever way it came about.

    Raises:
        DefianError: its operators have no equal in that opset.
    """
    version = _opset(model)
    if version != OPSET:
        try:
            model = onnx.version_converter.convert_version(model, OPSET)
        except Exception as error:
            if version < OPSET:
                raise DefianError(
                    f"The graph's operators of opset {version} cannot be brought to opset {OPSET}: {one_line(error)}",
                    f"Export the network with opset {OPSET}.",
                ) from error
            model = _relabelled(model, version)
    if version < RESIZE_SAYS:
        _sample_as_then(model)
    converted = ir.from_proto(model)
    simplify(converted)
    return converted


def _sample_as_then(model: onnx.ModelProto) -> None:
    """Let what was Upsample, or Resize before it said so itself, sample where it did; in place.

    The converter gives it the centres of the pixels, ONNX's default since then, for linear sampling.
    """
    for node in _nodes(model):
        if node.op_type == "Resize":
            kept = [each for each in node.attribute if each.name not in SAMPLED]
            del node.attribute[:]
            node.attribute.extend([*kept, *(onnx.helper.make_attribute(*each) for each in SAMPLED.items())])


def simplify(model: ir.Model) -> None:
    """Inline functions and compute what depends on constants alone, in place."""
    common.InlinePass()(model)
    common.RemoveUnusedFunctionsPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    fold_constants(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.RemoveInitializersFromInputsPass()(model)
    common.RemoveUnusedNodesPass()(model)
    common.ClearMetadataAndDocStringPass()(model)


def free_sizes(model: ir.Model, *, batch: bool, height: bool, width: bool) -> None:
    """Let the graph's input have any size along these axes, and forget what was inferred from the old ones."""
    given = model.graph.inputs[0]
    names = ["batch" if batch else 1, None, "height" if height else None, "width" if width else None]
    given.shape = ir.Shape(
        [size if name is None else name for name, size in zip(names, given.shape or (), strict=True)]
    )
    for value in [*model.graph.outputs, *(value for node in model.graph for value in node.outputs)]:
        value.shape = None


def _loaded(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise _too_large(path, size)
        model = onnx.ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise DefianError(f"Cannot read {path}: {error.strerror}.") from error
    except DecodeError as error:
        raise DefianError(f"{path} is no ONNX file, or is truncated.", "Export it again.") from error
    if not model.graph.node or not model.opset_import:
        raise DefianError(f"{path} is no ONNX file: expected a graph with nodes, found none.", "Export it again.")
    return model


def _too_large(path: Path, size: int) -> DefianError:
    return DefianError(f"{path}: expected at most {MOST_BYTES >> 20} MiB with all its data, found {size >> 20} MiB.")


def _load_data_beside(model: onnx.ModelProto, path: Path) -> None:
    """Read tensors that lie in files beside the graph, and nowhere else."""
    folder = path.parent.resolve()
    total = path.stat().st_size
    for tensor in _tensors(model):
        if not uses_external_data(tensor):
            continue
        location = ExternalDataInfo(tensor).location
        beside = (folder / location).resolve()
        if not location or not beside.is_relative_to(folder):
            raise DefianError(f"{path}: tensor {tensor.name!r} lies outside of the graph's folder, at {location!r}.")
        if not beside.is_file():
            raise DefianError(
                f"{path}: tensor {tensor.name!r} lies in {location!r}, which is not beside the graph.",
                "Copy both files, or save the graph as one: onnx.save(model, path, save_as_external_data=False).",
            )
        total += ExternalDataInfo(tensor).length or beside.stat().st_size
        if total > MOST_BYTES:
            raise _too_large(path, total)
        try:
            load_external_data_for_tensor(tensor, str(folder))
            numpy_helper.to_array(tensor)
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise DefianError(f"{path}: tensor {tensor.name!r} cannot be read: {one_line(error)}") from error
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


def _require_known_operators(model: onnx.ModelProto, path: Path) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    for node in _nodes(model):
        if node.domain not in STANDARD and (node.domain, node.op_type) not in own:
            raise DefianError(
                f"{path}: expected ONNX's own operators, found {node.domain}::{node.op_type}.",
                "TensorRT has no such operator. Export the network without it, or with a function of that name in the "
                "file.",
            )
        if node.op_type in WITH_BODIES:
            raise DefianError(
                f"{path}: expected a graph without branches and loops, found {node.op_type} {node.name!r}.",
                "Export the network with torch.onnx.export(..., dynamo=True), which unrolls them.",
            )
        if node.op_type in RANDOM:
            raise DefianError(f"{path}: expected the same result each time, found {node.op_type} {node.name!r}.")
        if node.op_type in QUANTISED:
            raise DefianError(f"{path}: expected a FP32 graph, found {node.op_type} {node.name!r}.", FP32_HINT)
    version = _opset(model)
    if not OLDEST <= version <= onnx.defs.onnx_opset_version():
        newest = onnx.defs.onnx_opset_version()
        raise DefianError(f"{path}: expected opset {OLDEST} to {newest}, found {version}.")


def _opset(model: onnx.ModelProto) -> int:
    return next((each.version for each in model.opset_import if each.domain in STANDARD), 0)


def _relabelled(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The graph under our opset, if it is valid there."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for each in copy.opset_import:
        if each.domain in STANDARD:
            each.version = OPSET
    try:
        onnx.checker.check_model(copy, full_check=True)
    except Exception as error:
        raise DefianError(
            f"The graph's operators of opset {version} cannot be brought to opset {OPSET}: {one_line(error)}",
            f"Export the network with opset {OPSET}.",
        ) from error
    return copy


def _require_one_picture(model: onnx.ModelProto, path: Path) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    for what, ends in (("input", inputs), ("output", list(model.graph.output))):
        if len(ends) != 1:
            names = ", ".join(each.name for each in ends) or "none"
            raise DefianError(
                f"{path}: expected one {what}, found {len(ends)}: {names}.",
                "A super-resolution network takes one picture and gives one.",
            )
        tensor = ends[0].type.tensor_type
        if tensor.elem_type != TensorProto.FLOAT:
            kind = TensorProto.DataType.Name(tensor.elem_type).lower()
            raise DefianError(f"{path}: expected {what} {ends[0].name} as float32, found {kind}.", FP32_HINT)
    if not inputs[0].type.tensor_type.HasField("shape"):
        raise DefianError(
            f"{path}: expected {inputs[0].name} as [N, C, H, W], found no number of dimensions.",
            "Export the network with an example of four dimensions.",
        )
    for what, end in (("takes", inputs[0]), ("gives", model.graph.output[0])):
        tensor = end.type.tensor_type
        if tensor.HasField("shape") and len(tensor.shape.dim) != 4:
            kind = ": a classifier gives such" if what == "gives" and len(tensor.shape.dim) == 2 else ""
            raise DefianError(
                f"{path}: expected a super-resolution network, which {what} [N, C, H, W], found that {end.name} has "
                f"{len(tensor.shape.dim)} dimensions{kind}."
            )


def _require_finite_fp32(model: onnx.ModelProto, path: Path) -> None:
    weights = {name for node in _nodes(model) if node.op_type in WEIGHTED for name in node.input[1:]}
    for tensor in _tensors(model):
        if tensor.data_type in HALVES:
            kind = TensorProto.DataType.Name(tensor.data_type).lower()
            raise DefianError(f"{path}: expected a FP32 graph, found {tensor.name!r} as {kind}.", FP32_HINT)
        if tensor.data_type != TensorProto.FLOAT:
            continue
        numbers = numpy_helper.to_array(tensor)
        if np.isnan(numbers).any() or (tensor.name in weights and not np.isfinite(numbers).all()):
            raise DefianError(
                f"{path}: expected finite weights, found NaN or Inf in {tensor.name!r}.", "Train or download it again."
            )
    for node in _nodes(model):
        if np.isnan([number for each in node.attribute for number in (each.f, *each.floats)]).any():
            raise DefianError(
                f"{path}: expected finite numbers, found NaN in {node.op_type} {node.name!r}.", "Export it again."
            )
        to = next((each.i for each in node.attribute if node.op_type == "Cast" and each.name == "to"), 0)
        if to in HALVES:
            kind = TensorProto.DataType.Name(to).lower()
            raise DefianError(f"{path}: expected a FP32 graph, found {node.name!r} cast to {kind}.", FP32_HINT)
