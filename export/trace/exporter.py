"""torch.onnx.export as this project asks for it: the exporter's words kept from the user, its errors in a sentence."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

import torch

from defian_edge.export.graph import OPSET
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor, nn

LOGGER = logging.getLogger(__name__)
LETTERS = 200
TALKATIVE = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")


def export_graph(module: nn.Module, example: Tensor, dynamic: dict[int, Any], names: tuple[str, str]) -> ir.Model:
    """Trace a module of one tensor to a FP32 graph.

    Args:
        module: in evaluation mode.
        example: what it is traced with.
        dynamic: axis -> ``torch.export.Dim`` of what may have another size.
        names: of the graph's input and output.

    Raises:
        DefianError: torch.onnx could not export it; with the first line of the reason.
    """
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    said = io.StringIO()  # torch.export prints the program that it gave up, past all loggers
    try:
        with warnings.catch_warnings(), torch.no_grad(), redirect_stderr(said):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (example,),
                input_names=[names[0]],
                output_names=[names[1]],
                dynamic_shapes=(dynamic,),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise DefianError(f"torch.onnx could not export the network: {reason_of(error)}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if said.getvalue():
            LOGGER.debug("torch.onnx said:\n%s", said.getvalue())
    if program is None:
        raise DefianError("torch.onnx returned no program.")
    return program.model


def reason_of(error: BaseException) -> str:
    """The first line of what is at the bottom of an error of the exporter, shortened; the next if that announces it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip().removeprefix("- ") for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":") and not lines[1].startswith("* ("):  # signatures say less
        del lines[0]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= LETTERS else f"{line[:LETTERS]}..."
