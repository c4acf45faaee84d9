"""A FP32 graph of this project as a differentiable PyTorch function, with INT8 where its quantisation plan says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from defian_edge.calibration.drift.evaluator import ends_the_picture
from defian_edge.calibration.ranges.estimators import LEVELS
from defian_edge.export.graph import array_of, inlined
from defian_edge.export.precision.int8.qdq import MOST_LEFT
from defian_edge.export.precision.int8.sites import block_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    import onnx_ir as ir

    from defian_edge.export.precision.int8.calibrate import Calibrated

TYPES = {1: torch.float32, 2: torch.uint8, 6: torch.int32, 7: torch.int64}
"""ONNX's number of a type -> PyTorch's."""
TINY = 1e-9
"""Added under square roots, whose slope at zero is infinite."""
STRETCH = 0.1
"""AdaRound's sigmoid runs from -0.1 to 1.1 and is cut at 0 and 1 (M. Nagel et al., ICML 2020, equation 23)."""


@dataclass(frozen=True)
class Stage:
    """Consecutive nodes that end where a group of INT8 convolutions has had its effect.

    Attributes:
        nodes: what to run.
        target: the value to be right: a residual block's sum, or the last convolution's output.
        convolutions: those of the group.
        limits: tensors that are quantised here and nowhere before.
    """

    nodes: tuple[ir.Node, ...]
    target: str
    convolutions: tuple[str, ...]
    limits: tuple[str, ...]


class Simulator:
    """Runs the graph of a calibration in PyTorch; what can be learned are tensors of its own.

    Attributes:
        nodes: the graph up to the picture before clamping and rounding.
        log_limits: tensor name -> logarithm of the largest magnitude that its INT8 form represents.
        rounding: convolution -> AdaRound's variable, [O, I, kh, kw].
        bias: convolution -> what is added to its output, [1, O, 1, 1].
    """

    def __init__(self, calibrated: Calibrated) -> None:
        graph = inlined(calibrated.model).graph
        self.nodes, self._picture = _up_to_the_picture(graph)
        self._image = graph.inputs[0].name or ""
        self._constants = {
            name: torch.from_numpy(np.array(value.const_value.numpy()))
            for name, value in graph.initializers.items()
            if value.const_value is not None
        }
        self._maps = {site.tensor for site in calibrated.sites.features}
        self._reads = {site.node: site.tensor for site in calibrated.sites.convolutions}
        self._two_terms = {
            site.tensor for site in calibrated.sites.convolutions if site.node in calibrated.plan.two_terms
        }
        self._groups = {site.node: site.group for site in calibrated.sites.convolutions}
        limits = calibrated.plan.limits
        self.log_limits = {name: torch.tensor(math.log(limits[name])) for name in calibrated.sites.tensors}
        self._scales: dict[str, torch.Tensor] = {}
        self._floors: dict[str, torch.Tensor] = {}
        self.rounding: dict[str, torch.Tensor] = {}
        for node in self.nodes:
            if node.name in self._reads:
                scale = calibrated.plan.weights[node.name][1].astype(np.float32).reshape(-1, 1, 1, 1)
                weights = array_of(node.inputs[1])
                if weights is None:
                    raise ValueError(f"{node.name}: its weights are no constant")
                steps = torch.from_numpy(weights / scale)
                self._scales[node.name], self._floors[node.name] = torch.from_numpy(scale), steps.floor()
                share = (steps - steps.floor() + STRETCH) / (1 + 2 * STRETCH)
                self.rounding[node.name] = torch.log(share / (1 - share))
        self.bias = {name: torch.zeros(1, len(scale), 1, 1) for name, scale in self._scales.items()}

    def parameters(self, kind: str, names: Collection[str] | None = None) -> list[torch.Tensor]:
        """The ``log_limits`` or the ``rounding`` of these names, by default all, ready to be learned."""
        found = getattr(self, kind)
        return [found[name].requires_grad_() for name in (found if names is None else names)]

    def integers(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every convolution's INT8 weights, rounded as learned."""
        for name in self.rounding:
            yield name, self._steps(name, soft=False).detach().numpy().astype(np.int8)

    def indecision(self, sharpness: float, names: Collection[str] | None = None) -> torch.Tensor:
        """AdaRound's regulariser: 0 where every weight has chosen a side, up to 1 for each that has not."""
        chosen = self.rounding if names is None else names
        terms = [(1 - (2 * self._upward(name) - 1).abs().pow(sharpness)).sum() for name in chosen]
        return torch.stack(terms).sum()

    def _upward(self, name: str) -> torch.Tensor:
        return (torch.sigmoid(self.rounding[name]) * (1 + 2 * STRETCH) - STRETCH).clamp(0, 1)

    def _steps(self, name: str, *, soft: bool) -> torch.Tensor:
        upward = self._upward(name)
        return (self._floors[name] + (upward if soft else upward.round())).clamp(-LEVELS, LEVELS)

    def _quantised(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Rounded with the tensor's range, in two terms where the graph has two."""
        scale = torch.exp(self.log_limits[name]) / LEVELS
        rounded = _rounded(value, scale)
        return rounded + _rounded(value - rounded, scale * MOST_LEFT / LEVELS) if name in self._two_terms else rounded

    def __call__(
        self,
        images: torch.Tensor,
        *,
        int8: bool,
        soft: bool = False,
        see: Callable[[str, torch.Tensor], torch.Tensor] = lambda _, value: value,
    ) -> torch.Tensor:
        """The picture before clamping and rounding, as the graph holds it.

        Args:
            images: uint8 RGB [N, H, W, 3].
            int8: quantise; otherwise the FP32 graph.
            soft: weights between their two integers, as the rounding is learned.
            see: given the name and the output of every convolution that can be INT8; what it returns is used.
        """
        found = self.start(images)
        self.run(self.nodes, found, int8=int8, soft=soft, see=see)
        return self._value(self._picture, found)

    def start(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """What :meth:`run` begins with."""
        return {self._image: images}

    def run(
        self,
        nodes: Iterable[ir.Node],
        found: dict[str, torch.Tensor],
        *,
        int8: bool,
        soft: bool = False,
        see: Callable[[str, torch.Tensor], torch.Tensor] = lambda _, value: value,
    ) -> None:
        """Run some nodes on the values in ``found``, and put theirs there; otherwise as a call."""
        for node in nodes:
            inputs = [self._read(node, index, found, int8=int8) for index in range(len(node.inputs))]
            if int8 and node.name in self._reads:
                inputs[1] = self._steps(node.name, soft=soft) * self._scales[node.name]
            result = OPERATORS[node.op_type](inputs, {key: each.value for key, each in node.attributes.items()})
            if node.name in self._reads:
                result = see(node.name, result + self.bias[node.name] if int8 else result)
            found[node.outputs[0].name or ""] = result

    def stages(self) -> Iterator[Stage]:
        """The network in order, one group of convolutions after the other; what is behind the last has no stage."""
        places = {id(node): index for index, node in enumerate(self.nodes)}
        ends: dict[str, tuple[int, ir.Value]] = {}
        for node in self.nodes:
            if node.name in self._groups:
                ended = block_sum(node.outputs[0])
                target = node.outputs[0] if ended is None else ended.total
                ends[self._groups[node.name]] = (places[id(target.producer())], target)
        start, seen = 0, set[str]()
        for group, (end, target) in sorted(ends.items(), key=lambda item: item[1][0]):
            nodes = tuple(self.nodes[start : end + 1])
            read = dict.fromkeys(
                value.name or ""
                for node in nodes
                for index, value in enumerate(node.inputs)
                if value is not None and self._is_int8(node, index, value.name or "")
            )
            convolutions = tuple(name for name, owner in self._groups.items() if owner == group)
            yield Stage(nodes, target.name or "", convolutions, tuple(name for name in read if name not in seen))
            seen |= read.keys()
            start = end + 1

    def _read(self, node: ir.Node, index: int, found: dict[str, torch.Tensor], *, int8: bool) -> Any:  # noqa: ANN401
        value = node.inputs[index]
        if value is None:
            return None
        name = value.name or ""
        if not int8 or not self._is_int8(node, index, name):
            return self._value(name, found)
        key = f"{name}.int8"
        if key not in found:
            found[key] = self._quantised(name, found[name])
        return found[key]

    def _value(self, name: str, found: dict[str, torch.Tensor]) -> torch.Tensor:
        return self._constants[name] if name in self._constants else found[name]

    def _is_int8(self, node: ir.Node, index: int, name: str) -> bool:
        """Whether the node reads this input from INT8."""
        return name in self._maps or (index == 0 and self._reads.get(node.name or "") == name)


def _rounded(value: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """To whole steps, as far as INT8 reaches; the slope of rounding is taken as 1."""
    steps = (value / scale).clamp(-LEVELS, LEVELS)
    return (steps + (steps.round() - steps).detach()) * scale


def _up_to_the_picture(graph: ir.Graph) -> tuple[list[ir.Node], str]:
    """The nodes in front of the Clip that precedes a Round, and the name of what that Clip reads."""
    nodes = list(graph)
    for index, node in enumerate(nodes):
        if ends_the_picture(node):
            return nodes[:index], (node.inputs[0].name if node.inputs[0] else None) or ""
    raise ValueError("the graph has no Clip in front of a Round")


def _convolution(x: list[Any], at: dict[str, Any]) -> torch.Tensor:
    top, left, bottom, right = at.get("pads", [0] * 4)
    padded = functional.pad(x[0], (left, right, top, bottom))
    bias = x[2] if len(x) > 2 else None
    strides, dilations = list(at.get("strides", [1, 1])), list(at.get("dilations", [1, 1]))
    return functional.conv2d(padded, x[1], bias, strides, 0, dilations, at.get("group", 1))


def _slice(x: list[Any], _: dict[str, Any]) -> torch.Tensor:
    result = x[0]
    axes = x[3].tolist() if len(x) > 3 else range(len(x[1]))
    steps = x[4].tolist() if len(x) > 4 else [1] * len(x[1])
    for begin, end, axis, step in zip(x[1].tolist(), x[2].tolist(), axes, steps, strict=True):
        where: list[Any] = [slice(None)] * result.dim()
        where[axis] = slice(begin, end, step)
        result = result[tuple(where)]
    return result


def _pad(x: list[Any], _: dict[str, Any]) -> torch.Tensor:
    rank, amounts = x[0].dim(), x[1].tolist()
    axes = x[3].tolist() if len(x) > 3 and x[3] is not None else range(rank)
    pads = [0] * (2 * rank)
    for place, axis in enumerate(axes):
        mirrored = 2 * (rank - 1 - axis % rank)  # PyTorch begins with the last axis
        pads[mirrored], pads[mirrored + 1] = amounts[place], amounts[place + len(amounts) // 2]
    return functional.pad(x[0], pads)


def _gather(x: list[Any], at: dict[str, Any]) -> torch.Tensor:
    axis = at.get("axis", 0)
    chosen = torch.index_select(x[0], axis, x[1].reshape(-1))
    return chosen.reshape([*x[0].shape[:axis], *x[1].shape, *x[0].shape[axis + 1 :]])


OPERATORS: dict[str, Callable[[list[Any], dict[str, Any]], torch.Tensor]] = {
    "Add": lambda x, _: x[0] + x[1],
    "Cast": lambda x, at: x[0].to(TYPES[int(at["to"])]),
    "CastLike": lambda x, _: x[0].to(x[1].dtype),
    "Clip": lambda x, _: x[0].clamp(x[1], x[2] if len(x) > 2 else None),
    "Concat": lambda x, at: torch.cat(x, at["axis"]),
    "Conv": _convolution,
    "Div": lambda x, _: x[0] / x[1],
    "Equal": lambda x, _: x[0] == x[1],
    "Gather": _gather,
    "Identity": lambda x, _: x[0],
    "Mul": lambda x, _: x[0] * x[1],
    "Pad": _pad,
    "Range": lambda x, _: torch.arange(int(x[0]), int(x[1]), int(x[2])),
    "ReduceMean": lambda x, at: x[0].mean(x[1].tolist(), keepdim=bool(at.get("keepdims", 1))),
    "ReduceProd": lambda x, at: x[0].prod().reshape([1] if at.get("keepdims", 1) else []),
    "Relu": lambda x, _: torch.relu(x[0]),
    "Reshape": lambda x, _: x[0].reshape(x[1].tolist()),
    "Shape": lambda x, at: torch.tensor(x[0].shape)[at.get("start", 0) : at.get("end")],
    "Sigmoid": lambda x, _: torch.sigmoid(x[0]),
    "Slice": _slice,
    "Sqrt": lambda x, _: torch.sqrt(x[0] + TINY),
    "Squeeze": lambda x, _: x[0].squeeze(tuple(x[1].tolist())) if len(x) > 1 else x[0].squeeze(),
    "Sub": lambda x, _: x[0] - x[1],
    "Transpose": lambda x, at: x[0].permute(*at["perm"]),
    "Unsqueeze": lambda x, _: x[0].unsqueeze(int(x[1])),
    "Where": lambda x, _: torch.where(*x),
}
