"""What TensorRT-RTX makes of a graph, kernel by kernel, read off its log: which types it really moves through memory.

``python -m tools.kernels build/net.fp16.onnx build/net.int8.onnx`` needs no GPU. ``--peak`` tells where most of the
memory is in use, and by what. docs/quantisation.md and
docs/rewrites.md have tables. How bytes are counted: :mod:`defian_edge.export.engine.kernels`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from rich.table import Table

from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target
from defian_edge.export.engine.kernels import GraphReads, Kernel, kernels_in, moved_bytes, peak_of
from defian_edge.export.tables import MEGA
from defian_edge.runtime.arguments import count_of, path_of
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import ShapeProfile
from tools.study import parsed, table_or_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

NAMES = {"Int8": "INT8", "UInt8": "uint8", "Half": "FP16", "BFloat16": "BF16", "Float": "FP32"}
CONVOLUTION = "correlation"
"""What the compiler calls it."""


def int8_convolutions(kernels: Iterable[Kernel]) -> Counter[str]:
    """How many convolutions read an INT8 map, by the type that they write."""
    return Counter(
        kernel.writes[0].dtype
        for kernel in kernels
        if kernel.kind == CONVOLUTION and kernel.writes and kernel.reads and kernel.reads[0].dtype == "Int8"
    )


def planned(graph: Path, sm: int, profile: ShapeProfile) -> tuple[list[Kernel], GraphReads]:
    """Build an ONNX file for one shape and read the kernels off the log, and who reads what off the graph.

    Raises:
        DefianError: the file cannot be read, or the compiler is missing or refuses it.
    """
    try:
        content = graph.read_bytes()
    except OSError as error:
        raise DefianError(f"{graph} cannot be read: {error.strerror}.", "Give graphs that export.py wrote.") from error
    kernels = kernels_in(build_engine(content, EngineOptions(Target.TENSORRT_RTX, profile, uint8=True, sm=sm)).log)
    if not kernels:
        raise DefianError("This TensorRT-RTX lists no kernels in its log.", "The tool was written for 1.7.1.")
    return kernels, GraphReads(ir.from_proto(onnx.load_model_from_string(content)), profile.maximum)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.kernels", description=__doc__)
    parser.add_argument("graphs", type=path_of("GRAPH"), nargs="+", help="ONNX files with uint8 I/O")
    parser.add_argument("--sm", type=count_of("--sm", 50, 999), default=89, help="compute capability to plan for")
    parser.add_argument("--shape", default="1x64x64", help="LR batch, height and width")
    parser.add_argument(
        "--peak", action="store_true", help="list the tensors at the peak of the memory, a megabyte or more"
    )
    options = parsed(parser, arguments)
    peaks = []
    table = Table("graph", "kernels", "INT8 convolutions write", *(f"{name} MB" for name in NAMES.values()), "all MB")
    with table_or_error(table):
        profile = ShapeProfile.parse(options.shape)
        for graph in options.graphs:
            kernels, reads = planned(graph, options.sm, profile)
            moved = moved_bytes(kernels, reads)
            peaks.append(peak_of(kernels))
            written = ", ".join(f"{NAMES[dtype]} {count}" for dtype, count in int8_convolutions(kernels).items())
            cells = [f"{moved[dtype] / MEGA:.2f}" for dtype in NAMES]
            name = f"{graph.parent.name}/{graph.name}"
            table.add_row(name, str(len(kernels)), written or "none", *cells, f"{moved.total() / MEGA:.2f}")
    if options.peak:
        for graph, (kernel, tensors) in zip(options.graphs, peaks, strict=True):
            print(f"{graph.name}: {sum(tensor.size for tensor in tensors) / MEGA:.1f} MB at {kernel.name}")
            for tensor in tensors:
                if tensor.size >= MEGA:
                    print(f"  {tensor.size / MEGA:6.1f} MB  {list(tensor.shape)} {NAMES[tensor.dtype]}  {tensor.name}")


if __name__ == "__main__":
    main()
