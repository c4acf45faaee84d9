"""What TensorRT-RTX makes of a graph, kernel by kernel, read off its log: how many launches, and what they move.

The compiler needs no GPU to say it. Asked to be detailed, it lists every kernel with the tensors that it reads and
writes, their shapes and types, and the ONNX nodes that it computes. Constants, weights among them, are not counted:
they are read once whatever the graph looks like. A tensor is listed whole even where a kernel takes two columns of it;
which reads are slices the graph tells (:class:`GraphReads`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from defian_edge.export.graph import with_shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx_ir as ir

    from defian_edge.runtime.profile import Shape

BYTES = {"Int8": 1, "UInt8": 1, "Half": 2, "BFloat16": 2, "Float": 4}
SLICES = ("Slice", "Gather")
TENSOR = re.compile(r"Name: ([^,]*), Dimensions: \[([^\]]*)\].*?Datatype: (\w+)")
KERNEL = re.compile(r"Name: (?P<name>[^,]*), LayerType: (?P<kind>[^,]*), Inputs: (?P<reads>.*?)Outputs: (?P<writes>.*)")
LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


@dataclass(frozen=True)
class Tensor:
    """What crosses memory between kernels: its shape, its type and its name in the compiler's words."""

    shape: tuple[int, ...]
    dtype: str
    name: str = field(default="", compare=False)

    @property
    def size(self) -> int:
        """In bytes; 0 for index arithmetic."""
        return prod(self.shape) * BYTES.get(self.dtype, 0)


@dataclass(frozen=True)
class Kernel:
    """One launch.

    Attributes:
        name: lists the fused operations.
        kind: the compiler's word, such as ``correlation`` for a convolution.
        reads, writes: tensors, constants aside.
        layers: names of the ONNX nodes that it computes, in whole or in part.
    """

    name: str
    kind: str
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traffic:
    """What a compiled graph launches and moves in one run: kernels, and bytes read and written by them."""

    kernels: int
    bytes: int


def kernels_in(log: Iterable[str]) -> list[Kernel]:
    """The kernels that the compiler lists when it is asked to be detailed, in order; not what only waits or signals."""
    matches = (KERNEL.search(line) for text in log for line in text.splitlines())
    listed = [
        Kernel(
            match["name"],
            match["kind"],
            _tensors(match["reads"].split("Constants:")[0]),
            _tensors(match["writes"]),
            tuple(LAYER.findall(match["writes"])),
        )
        for match in matches
        if match is not None
    ]
    return [kernel for kernel in listed if kernel.writes]


def _tensors(text: str) -> tuple[Tensor, ...]:
    found = TENSOR.findall(text)
    return tuple(
        Tensor(tuple(int(size) for size in sizes.split(",") if size), kind, name) for name, sizes, kind in found
    )


@dataclass(frozen=True)
class _Read:
    """One value that a node of the graph reads: elements of the part that it takes; None if it takes all."""

    value: str
    shape: tuple[int, ...]
    part: int | None


class GraphReads:
    """Which nodes of a graph read which values, and how much of them, at one shape of the image.

    Node names are those that the compiler reports. The bodies of functions are not looked into.
    """

    def __init__(self, model: ir.Model, shape: Shape) -> None:
        named = {node.name or f"node_of_{node.outputs[0].name}" for node in model.graph}
        self._reads: dict[str, list[_Read]] = {}
        self._writes: dict[str, list[str]] = {}
        for node in with_shape(model, shape).graph:
            name = node.name or f"node_of_{node.outputs[0].name}"
            if name in named:
                self._reads[name] = [read for index, value in enumerate(node.inputs) if (read := _read(node, index))]
                self._writes[name] = [value.name or "" for value in node.outputs]

    def of(self, kernel: Kernel) -> dict[tuple[int, ...], dict[str, tuple[bool, int]]]:
        """What the kernel takes from outside: shape -> value -> (whether a node reads all, elements of slices)."""
        inside = {value for layer in kernel.layers for value in self._writes.get(layer, ())}
        found: dict[tuple[int, ...], dict[str, tuple[bool, int]]] = defaultdict(dict)
        for read in (read for layer in kernel.layers for read in self._reads.get(layer, ())):
            if read.value not in inside:
                whole, part = found[read.shape].get(read.value, (False, 0))
                found[read.shape][read.value] = (whole or read.part is None, part + (read.part or 0))
        return found


def _read(node: ir.Node, index: int) -> _Read | None:
    value = node.inputs[index]
    if value is None or not value.name or value.shape is None or not value.shape.is_static():
        return None
    result = node.outputs[0].shape
    sliced = node.op_type in SLICES and index == 0 and result is not None and result.is_static()
    part = prod(result.numpy()) if sliced and result is not None else None
    return _Read(value.name, tuple(value.shape.numpy()), part)


def read_bytes(kernel: Kernel, reads: GraphReads | None = None) -> Counter[str]:
    """Bytes that a kernel reads, by type.

    Every tensor counts whole, but for what the graph shows to be parts. The compiler lists a value once, or twice if
    some of the kernel's nodes read all of it and others slices. Where one of the two accounts for as many tensors of a
    shape as the kernel lists, slices count for the elements that they take together, and never for more than whole.
    """
    found: Counter[str] = Counter()
    values = {} if reads is None else reads.of(kernel)
    by_shape: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
    for tensor in kernel.reads:
        by_shape[tensor.shape].append(tensor)
    for shape, tensors in by_shape.items():
        parts = _parts(values.get(shape, {}), len(tensors)) if len({each.dtype for each in tensors}) == 1 else None
        for tensor, part in zip(tensors, parts or [None] * len(tensors), strict=True):
            size = tensor.size
            found[tensor.dtype] += size if part is None else min(size, part * BYTES.get(tensor.dtype, 0))
    return found


def _parts(values: Mapping[str, tuple[bool, int]], tensors: int) -> list[int | None] | None:
    """Elements read of each of so many tensors, None for all; None if values and tensors do not match."""
    once = [None if whole else part for whole, part in values.values()]
    twice = once + [part for whole, part in values.values() if whole and part]
    return next((parts for parts in (once, twice) if len(parts) == tensors), None)


def moved_bytes(kernels: Iterable[Kernel], reads: GraphReads | None = None) -> Counter[str]:
    """Bytes read and written by type; without ``reads`` every tensor counts whole."""
    moved: Counter[str] = Counter()
    for kernel in kernels:
        moved += read_bytes(kernel, reads)
        for tensor in kernel.writes:
            moved[tensor.dtype] += tensor.size
    return moved


def traffic_in(log: Iterable[str], graph: ir.Model, shape: Shape) -> Traffic | None:
    """Kernels and bytes of an engine that was built for this one shape; None if the log lists no kernels.

    Args:
        log: the compiler's.
        graph: what it compiled.
        shape: batch, height and width. A log of a range of shapes names no sizes.
    """
    kernels = kernels_in(log)
    if not kernels:
        return None
    return Traffic(len(kernels), moved_bytes(kernels, GraphReads(graph, shape)).total())


def peak_of(kernels: Sequence[Kernel]) -> tuple[Kernel, list[Tensor]]:
    """The kernel at which most bytes are alive, and the tensors that are, the largest first.

    A tensor is alive from the kernel that writes it to the last one that reads it; what no kernel writes is an input of
    the engine, what none reads an output, and neither is counted. A plan needs more than their sum, for want of places
    that fit.
    """
    written, read = {}, {}
    for index, kernel in enumerate(kernels):
        written |= {tensor.name: (index, tensor) for tensor in kernel.writes}
        read |= {tensor.name: index for tensor in kernel.reads}
    alive: list[list[Tensor]] = [[] for _ in kernels]
    for name, (index, tensor) in written.items():
        for between in range(index, read.get(name, index - 1) + 1):
            alive[between].append(tensor)
    most = max(range(len(kernels)), key=lambda index: sum(tensor.size for tensor in alive[index]))
    return kernels[most], sorted(alive[most], key=lambda tensor: -tensor.size)
