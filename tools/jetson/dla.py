"""Which operators of a graph a Jetson's DLA takes, by NVIDIA's own table: why no engine here uses it.

``python -m tools.jetson.dla build/defian-s-x2.fp16.onnx`` prints them as a Markdown table, at a fixed shape, since the
DLA takes no other; what the graph computes from its sizes alone is not counted then.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from defian_edge.export.graph import with_shape
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import ShapeProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = "https://github.com/NVIDIA/Deep-Learning-Accelerator-SW/blob/07df2338/operators/README.md"
"""The table, column "Orin DLA support through TensorRT"."""
_TAKEN = """
Abs Add AveragePool BatchNormalization Clip Concat Constant Conv ConvTranspose Cos Equal Gemm LeakyRelu LRN MatMul Max
MaxPool Mul PRelu Relu Reshape Resize Sigmoid Slice Softmax Sub Sum Tanh Transpose Upsample
"""
_REBUILT = "And DepthToSpace Gather GRU Neg Not Or ScatterElements SpaceToDepth Where Xor"
_REFUSED = """
Acos Acosh Asin Asinh Atan Atanh Celu Cosh Div Elu Erf Exp GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
HardSigmoid HardSwish Less LessOrEqual Log LogSoftmax Min Mod Pow Reciprocal ReduceMax ReduceMean ReduceMin Sign Sin
Sinh Softplus Softsign Sqrt Tan ThresholdedRelu
"""
ANSWERS = {
    "taken": _TAKEN.split(),  # "Native" there
    "to be rewritten by hand": _REBUILT.split(),  # "Reconstruction"
    "refused": _REFUSED.split(),  # "None"
}
"""Operators by what the table says of them."""
UNLISTED = "not in the table"


def answer(operator: str) -> str:
    """What the table says of an ONNX operator."""
    return next((words for words, names in ANSWERS.items() if operator in names), UNLISTED)


def operators(model: ir.Model, profile: ShapeProfile) -> Counter[str]:
    """Nodes by operator of the graph at the profile's largest shape, functions inlined."""
    return Counter(node.op_type for node in with_shape(model, profile.maximum).graph)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.jetson.dla", description=__doc__)
    parser.add_argument("graph", type=Path, help="an .onnx file that export.py wrote")
    parser.add_argument("--shape", default="1x540x960", help="batch x height x width of the LR image")
    options = parser.parse_args(arguments)
    try:
        print(table(options.graph, options.shape))
    except DefianError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def table(graph: Path, shape: str) -> str:
    """What is not taken first, and how much is.

    Raises:
        DefianError: the file is no graph, or the shape has another form.
    """
    profile = ShapeProfile.parse(shape)
    try:
        model = ir.from_proto(onnx.load(graph))
    except (OSError, DecodeError) as error:
        raise DefianError(f"{graph} cannot be read: {error}.", "Give a graph that export.py wrote.") from error
    found = operators(model, profile)
    lines = ["| operator | nodes | NVIDIA's table |", "|---|---|---|"]
    order = sorted(found, key=lambda name: (answer(name) == "taken", answer(name), -found[name], name))
    lines += [f"| {name} | {found[name]} | {answer(name)} |" for name in order]
    taken = sum(count for name, count in found.items() if answer(name) == "taken")
    return "\n".join([*lines, "", f"{taken} of {found.total()} nodes are taken."])


if __name__ == "__main__":
    main()
