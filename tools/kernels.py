"""What TensorRT-RTX makes of a graph, kernel by kernel, read off its log: which types it really moves through memory.

``python -m tools.kernels build/net.fp16.onnx build/net.int8.onnx`` needs no GPU. docs/quantisation.md has the table.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target
from defian_edge.export.tables import MEGA
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import ShapeProfile
from tools.study import table_or_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BYTES = {"Int8": 1, "UInt8": 1, "Half": 2, "Float": 4}
NAMES = {"Int8": "INT8", "UInt8": "uint8", "Half": "FP16", "Float": "FP32"}
TENSOR = re.compile(r"Dimensions: \[([^\]]*)\].*?Datatype: (\w+)")
KERNEL = re.compile(r"Name: (?P<name>[^,]*), LayerType: (?P<kind>[^,]*), Inputs: (?P<reads>.*?)Outputs: (?P<writes>.*)")
CONVOLUTION = "correlation"
"""What the compiler calls it."""


@dataclass(frozen=True)
class Tensor:
    """What crosses memory between kernels: its shape, and its type in the compiler's word."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """In bytes; 0 for index arithmetic."""
        return prod(self.shape) * BYTES.get(self.dtype, 0)


@dataclass(frozen=True)
class Kernel:
    """One launch: the name that lists the fused operations, its kind, and what it reads and writes, constants aside."""

    name: str
    kind: str
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]


def kernels_in(log: Iterable[str]) -> list[Kernel]:
    """The kernels that the compiler lists when it is asked to be detailed, in order; not what only waits or signals."""
    matches = (KERNEL.search(line) for text in log for line in text.splitlines())
    listed = [
        Kernel(match["name"], match["kind"], _tensors(match["reads"].split("Constants:")[0]), _tensors(match["writes"]))
        for match in matches
        if match is not None
    ]
    return [kernel for kernel in listed if kernel.writes]


def _tensors(text: str) -> tuple[Tensor, ...]:
    found = TENSOR.findall(text)
    return tuple(Tensor(tuple(int(size) for size in sizes.split(",") if size), dtype) for sizes, dtype in found)


def moved_bytes(kernels: Iterable[Kernel]) -> Counter[str]:
    """Bytes read and written by type."""
    moved: Counter[str] = Counter()
    for kernel in kernels:
        for tensor in (*kernel.reads, *kernel.writes):
            moved[tensor.dtype] += tensor.size
    return moved


def int8_convolutions(kernels: Iterable[Kernel]) -> Counter[str]:
    """How many convolutions read an INT8 map, by the type that they write."""
    return Counter(
        kernel.writes[0].dtype
        for kernel in kernels
        if kernel.kind == CONVOLUTION and kernel.writes and kernel.reads and kernel.reads[0].dtype == "Int8"
    )


def planned(graph: Path, sm: int, profile: ShapeProfile) -> list[Kernel]:
    """Build an ONNX file for one shape and read the kernels off the log.

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
    return kernels


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.kernels", description=__doc__)
    parser.add_argument("graphs", type=Path, nargs="+", help="ONNX files with uint8 I/O")
    parser.add_argument("--sm", type=int, default=89, help="compute capability to plan for")
    parser.add_argument("--shape", default="1x64x64", help="LR batch, height and width")
    options = parser.parse_args(arguments)
    table = Table("graph", "kernels", "INT8 convolutions write", *(f"{name} MB" for name in NAMES.values()), "all MB")
    with table_or_error(table):
        profile = ShapeProfile.parse(options.shape)
        for graph in options.graphs:
            kernels = planned(graph, options.sm, profile)
            moved = moved_bytes(kernels)
            written = ", ".join(f"{NAMES[dtype]} {count}" for dtype, count in int8_convolutions(kernels).items())
            cells = [f"{moved[dtype] / MEGA:.2f}" for dtype in NAMES]
            name = f"{graph.parent.name}/{graph.name}"
            table.add_row(name, str(len(kernels)), written or "none", *cells, f"{moved.total() / MEGA:.2f}")


if __name__ == "__main__":
    main()
