"""Whether engines of a profile fit a device's memory, told before they are built: on a Jetson that takes an hour."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING

from defian_edge.export.graph import with_shape
from defian_edge.export.precision import Precision
from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.hardware.device import SYSTEM
from defian_edge.runtime.profile import ShapeProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from defian_edge.runtime.hardware.device import Device
    from defian_edge.runtime.profile import Shape

MEBI = 1 << 20
OWN = 768 * MEBI
"""Allowance for a CUDA context, TensorRT's libraries and its kernels."""
HALF_BYTES = 2
OF_PLAN = {Precision.FP16: 1.0, Precision.BF16: 1.0, Precision.INT8: 1.6, Precision.FP32: 2.35}
"""Activations of a precision for those of FP16: 275.8 and 405.1 for 172.6 MB, planned for x2 (README.md)."""
WIDTHS = {Precision.FP32: 4, Precision.INT8: 1}
"""Bytes of a weight, where they are not two."""
STEP = 8
"""A proposed profile's height and width are multiples of it, where the smallest shape lets them."""


@dataclass(frozen=True)
class Need:
    """Bytes that an engine takes at the largest shape of a profile.

    Attributes:
        activations: of the engine, by plan or by count.
        weights: of the engine.
        frames: images in and out, of all frames that a stream has under way.
        planned: the activations are a compiler's plan of the FP16 graph; otherwise they are counted on the graph.
    """

    activations: int
    weights: int
    frames: int
    planned: bool

    @property
    def total(self) -> int:
        """All of it, with the allowance for what is CUDA's and TensorRT's own."""
        return self.activations + self.weights + self.frames + OWN

    def words(self) -> str:
        """How the total is made up."""
        how = "by TensorRT-RTX's plan of FP16" if self.planned else "the maps that live at once in the graph"
        return (
            f"{self.activations // MEBI} MiB of activations ({how}), {self.weights // MEBI} of weights, "
            f"{self.frames // MEBI} of frames, {OWN // MEBI} allowed for CUDA and TensorRT themselves"
        )


def needs_of(
    model: ir.Model, precisions: Sequence[Precision], profile: ShapeProfile, scale: int, planned: int | None
) -> list[Need]:
    """What an engine of each precision would take.

    Args:
        model: the rewritten FP32 graph.
        precisions: of the engines.
        profile: its largest shape counts.
        scale: of the network.
        planned: activation bytes that a compiler plans for the FP16 graph and this profile; None without one.
    """
    activations = live_bytes(model, profile.maximum) if planned is None else planned
    elements = sum(prod(value.shape.numpy()) for value in model.graph.initializers.values() if value.shape is not None)
    frames = EngineBackend.in_flight * prod(profile.maximum) * 3 * (1 + scale**2)
    return [
        Need(
            round(activations * OF_PLAN[each]),
            int(elements) * WIDTHS.get(each, HALF_BYTES),
            frames,
            planned=planned is not None,
        )
        for each in precisions
    ]


def live_bytes(model: ir.Model, shape: Shape) -> int:
    """The most bytes of maps that are alive at once if nodes run in the graph's order, each element of two bytes.

    A compiler fuses nodes, so that some of these maps are never written, and keeps others longer: an estimate. For x2
    at 540x960 it is 171.1 MB, where TensorRT-RTX plans 172.6 (README.md).
    """
    concrete = with_shape(model, shape)
    outputs = set(concrete.graph.outputs)
    left = {value: len(value.uses()) for node in concrete.graph for value in node.outputs}
    alive = most = 0
    for node in concrete.graph:
        alive += sum(_bytes(value) for value in node.outputs)
        most = max(most, alive)
        for value in set(node.inputs):
            if value is None or value not in left or value in outputs:
                continue
            left[value] -= sum(1 for each in node.inputs if each is value)
            if left[value] <= 0:
                alive -= _bytes(value)
        alive -= sum(_bytes(value) for value in node.outputs if not value.uses() and value not in outputs)
    return most


def _bytes(value: ir.Value) -> int:
    if value.shape is None or not value.shape.is_static():
        return 0
    return int(prod(value.shape.numpy())) * HALF_BYTES


def too_large(
    need: Need, precision: Precision, profile: ShapeProfile, device: Device, *, one_size: bool = False
) -> str:
    """What to say of an engine that does not fit a device, and the largest profile that does; empty if it fits.

    ``one_size``: the network takes no other than the profile's one shape.
    """
    if need.total <= device.room:
        return ""
    shared = f", less {SYSTEM // MEBI} allowed for the system" if device.unified else ""
    said = (
        f"{device.name}: {precision.value} engines of up to {_shape(profile.maximum)} need {need.total // MEBI} MiB: "
        f"{need.words()}. It has {device.memory // MEBI} MiB{shared}."
    )
    if one_size:
        return f"{said} The network takes no other size."
    fitting = largest_profile(need, profile, device.room)
    if fitting is None:
        return f"{said} Not even {_shape(profile.minimum)} fits."
    return (
        f"{said} The largest that fits: --profile {fitting}; python -m runtime cuts what is larger into tiles of up to "
        f"{fitting.maximum[1]}x{fitting.maximum[2]}."
    )


def largest_profile(need: Need, profile: ShapeProfile, room: int) -> ShapeProfile | None:
    """The largest profile of the same smallest shape and aspect that fits into so many bytes; None if none does.

    Activations and frames are taken to grow with the pixels. Images of a batch are given up before their size. A
    profile of one shape stays one.
    """
    static = profile.minimum == profile.maximum
    pixels = prod(profile.maximum)
    left = (room - need.weights - OWN) * pixels // max(need.activations + need.frames, 1)
    least, (batch, height, width) = (1, STEP, STEP) if static else profile.minimum, profile.maximum
    batch = max(min(batch, left // (height * width)), least[0])
    ratio = sqrt(min(left / (batch * height * width), 1.0)) if left > 0 else 0.0
    sides = [height, width] if ratio == 1.0 else [_down(height * ratio, least[1]), _down(width * ratio, least[2])]
    if batch * prod(sides) > left:
        return None
    maximum = (batch, sides[0], sides[1])
    if static:
        return ShapeProfile(maximum, maximum, maximum)
    middle = [min(pair) for pair in zip(profile.optimum, maximum, strict=True)]
    return ShapeProfile(least, (middle[0], middle[1], middle[2]), maximum)


def _down(side: float, least: int) -> int:
    whole = int(side)
    return max(whole // STEP * STEP if whole // STEP * STEP >= least else whole, least)


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape))
