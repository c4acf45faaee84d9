"""How fast a graph could be at best: its multiply-accumulates, the bytes that must move, and a device's peaks."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from defian_edge.export.graph import with_shape
from defian_edge.export.roofline.counts import WEIGHTED, macs_of, reads_int8, type_of

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

    from defian_edge.runtime.hardware.device import Device
    from defian_edge.runtime.profile import Shape

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Work:
    """What one run of a graph amounts to.

    Attributes:
        macs: multiply-accumulates of the convolutions by precision: ``fp32``, ``fp16``, ``int8``.
        least_bytes: image in, image out, and every weight, once each. No implementation moves less.
        convolution_bytes: what moves if every convolution reads its input from memory and writes its output there,
            and everything else is fused into them. An estimate: a cache may hold a part, a bad fusion may add some.
        planned_bytes: what the kernels of an engine's plan read and write, scaled from the plan's shape by the pixels;
            None without a plan that says so.
    """

    macs: dict[str, int]
    least_bytes: int
    convolution_bytes: int
    planned_bytes: int | None = None

    @property
    def bound_bytes(self) -> int:
        """What the memory bound counts: the plan's bytes where there is a plan, the least otherwise."""
        return self.least_bytes if self.planned_bytes is None else max(self.planned_bytes, self.least_bytes)

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of every precision together."""
        return sum(self.macs.values())


@dataclass(frozen=True)
class Bound:
    """The least time a device needs for the work, seconds; each of the two parts alone, and the larger one.

    ``compute`` is None where no rate of the device is published for a type of the work; memory alone then bounds it.
    ``in_use``: the device is the one that the candidate was timed on, so that a share of the bound means something.
    """

    device: str
    compute: float | None
    memory: float
    in_use: bool = False

    @property
    def seconds(self) -> float:
        """The bound: arithmetic and memory at their peaks, perfectly overlapped."""
        return max(self.compute or 0.0, self.memory)

    @property
    def limit(self) -> str:
        """Which part decides: ``arithmetic`` or ``memory``."""
        return "arithmetic" if self.compute is not None and self.compute >= self.memory else "memory"


def bound_of(work: Work, device: Device, *, in_use: bool = False) -> Bound:
    """The roofline bound of the work on a device at its published peaks."""
    peaks = {precision: device.peak(precision) for precision, macs in work.macs.items() if macs}
    known = {precision: peak for precision, peak in peaks.items() if peak is not None}
    compute = None
    if len(known) == len(peaks):
        compute = sum(2 * work.macs[precision] / peak for precision, peak in known.items())
    return Bound(device.name, compute, work.bound_bytes / device.bandwidth, in_use)


def work_of(model: ir.Model, shape: Shape) -> Work:
    """Count a graph's work for an LR batch of this shape."""
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    concrete = with_shape(model, shape)
    macs: dict[str, int] = {}
    convolution_bytes = 0
    for node in concrete.graph:
        if node.op_type not in WEIGHTED:
            continue
        source, result = node.inputs[0], node.outputs[0]
        precision = type_of(node)
        macs[precision] = macs.get(precision, 0) + macs_of(node)
        convolution_bytes += _bytes(source, one_byte=reads_int8(node)) + _bytes(result)
    ends = [*concrete.graph.inputs, *concrete.graph.outputs]
    return Work(macs, weights + sum(_bytes(value) for value in ends), convolution_bytes)


class _Convolutions(TorchDispatchMode):
    """Counts every convolution that PyTorch computes, and the elements that go in and come out."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204 - torch's own
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            source, weight, transposed = args[0], args[1], args[6]
            counted = source if transposed else result
            self.macs += counted.numel() * prod(weight.shape[1:])
            self.elements += source.numel() + result.numel()
        return result


def work_of_network(network: nn.Module, shape: Shape) -> Work:
    """Count the work of the PyTorch network in FP32 for an LR batch of this shape; nothing is computed.

    The image is uint8 on both ends, as for a graph.
    """
    weights = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    image = torch.empty((shape[0], 3, *shape[1:]), device="meta")
    with torch.no_grad(), _Convolutions() as counted:  # inference mode would hide which convolution it is
        upscaled = copy.deepcopy(network).to("meta")(image)
    ends = image.numel() + upscaled.numel()
    return Work({"fp32": counted.macs}, weights + ends, FLOAT_BYTES * counted.elements)


def _bytes(value: ir.Value | None, *, one_byte: bool = False) -> int:
    if value is None or value.shape is None or value.dtype is None or not value.shape.is_static():
        raise ValueError(f"{value}: shape and type must be known")
    return int(prod(value.shape.numpy()) * (1 if one_byte else value.dtype.itemsize))
