"""An ONNX graph of any architecture as the network of an export; its own reference, run by ONNX Runtime in FP32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from defian_edge.calibration.drift.evaluator import session_of_bytes
from defian_edge.export.graph import copy_of
from defian_edge.export.source.base import Sizes
from defian_edge.export.source.foreign import ForeignNetwork, Identity, Nature
from defian_edge.export.source.given import free_sizes, in_our_opset, read_given
from defian_edge.export.source.reach import measure_reach
from defian_edge.export.source.sizes import find_fit, one_line
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    import onnx_ir as ir

    from defian_edge.export.source.picture import PictureFormat
    from defian_edge.export.source.sizes import Run

GRAPH_SUFFIX = ".onnx"


def open_graph(path: Path, picture: PictureFormat) -> ForeignNetwork:
    """Read a FP32 super-resolution graph and find out what it takes.

    Args:
        path: the file; data that it names lies beside it.
        picture: what it takes for a picture.

    Raises:
        DefianError: the file cannot be exported (see :func:`.given.read_given`), or no super-resolution network is in
            it.
    """
    given = read_given(path)
    run = _runner(given, path)
    channels = _channels(given, picture, path)
    declared = _declared_sizes(given, path)
    fit = find_fit(run, channels, declared)
    graph = in_our_opset(given)
    sizes = _free(graph, run, channels, declared)
    identity = Identity(path.stem, sha256_of(path), "onnx", "ONNX graph", "ONNX Runtime")
    reach = measure_reach(run, channels, fit, sizes)
    return ForeignNetwork(identity, run, lambda: graph, Nature(picture, fit, reach, sizes))


def _runner(model: onnx.ModelProto, path: Path) -> Run:
    try:
        session = session_of_bytes(model.SerializeToString())
    except Exception as error:  # ONNX Runtime raises its own exception types, which share no other base
        raise DefianError(f"ONNX Runtime cannot load {path}: {one_line(error)}") from error
    name = session.get_inputs()[0].name

    def run(values: np.ndarray) -> np.ndarray:
        """One image at a time, which is all that many graphs take."""
        return np.concatenate([np.asarray(session.run(None, {name: values[i : i + 1]})[0]) for i in range(len(values))])

    return run


def _channels(model: onnx.ModelProto, picture: PictureFormat, path: Path) -> int:
    """Of the network; they have to be those of the picture.

    Raises:
        DefianError: they are not.
    """
    declared = _dimensions(model)[1]
    if declared is not None and declared != picture.count:
        luma = "Give --channels y for a network of luma alone." if declared == 1 else ""
        raise DefianError(
            f"{path}: expected {picture.count} channels ({picture}), found a graph that takes {declared}.", luma
        )
    return picture.count


def _dimensions(model: onnx.ModelProto) -> list[int | None]:
    constants = {tensor.name for tensor in model.graph.initializer}
    given = next(each for each in model.graph.input if each.name not in constants)
    sizes = given.type.tensor_type.shape.dim
    return [each.dim_value if each.HasField("dim_value") and each.dim_value > 0 else None for each in sizes]


def _declared_sizes(model: onnx.ModelProto, path: Path) -> Sizes:
    batch, _, height, width = _dimensions(model)
    if batch is not None and batch > 1:
        raise DefianError(
            f"{path}: expected a graph that takes one image or any number, found a batch fixed at {batch}.",
            "Export the network with a batch of one, or a dynamic one.",
        )
    return Sizes(height, width, one_image=batch == 1)


def _free(graph: ir.Model, run: Run, channels: int, declared: Sizes) -> Sizes:
    """Let the graph take any batch if it can, whether or not it says so; in place."""
    fixed = {"height": declared.height is None, "width": declared.width is None}
    height, width = declared.height or 64, declared.width or 128
    images = np.random.default_rng(1).random((2, channels, height, width)).astype(np.float32)
    several = copy_of(graph)
    free_sizes(several, batch=True, **fixed)
    try:
        session = session_of_bytes(_bytes(several))
        together = np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])
        same = bool(np.allclose(together, run(images), rtol=1e-4, atol=1e-4))
    except Exception:
        same = False
    free_sizes(graph, batch=same, **fixed)
    return Sizes(declared.height, declared.width, one_image=not same)


def _bytes(model: ir.Model) -> bytes:
    import onnx_ir as ir

    return ir.to_proto(model).SerializeToString()
