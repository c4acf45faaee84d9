"""Any torch.nn.Module as the network of an export: frozen, run as it is for the reference, traced for the graph."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from defian_edge.export.source.base import ANY_SIZE
from defian_edge.export.source.foreign import ForeignNetwork, Identity, Nature
from defian_edge.export.source.given import free_sizes, simplify
from defian_edge.export.source.reach import measure_reach
from defian_edge.export.source.sizes import MULTIPLES, find_fit, one_line, sample_sides
from defian_edge.export.trace.exporter import export_graph
from defian_edge.export.trace.integers import open_integers
from defian_edge.export.trace.network import MAX_BATCH, MAX_SIDE, clean_names
from defian_edge.export.trace.pooling import PlainPooling, kernels_of
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from defian_edge.export.source.picture import PictureFormat
    from defian_edge.export.source.sizes import Fit, Run
    from defian_edge.export.trace.pooling import Kernel

FUSERS = ("switch_to_deploy", "reparameterize", "fuse")
"""Methods without arguments by which re-parameterised blocks become one convolution, by convention."""
REFRESHED = ("update_params", "eval_conv")
"""What a block has that computes its one convolution anew in every run, as SPAN's."""
FUSED_TOLERANCE = 1e-3
"""Of the largest value by which a fused network may differ."""
SMALL = 20
WINDOWS = (1, 2, 4, 8, 16, 32, 64)
"""Multiples to which a network may pad by itself, so that it sees another size than it is given."""


class _Isolated(nn.Module):
    """The network on a copy of what it is given, which some change in place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return _one_tensor(self.network(image.clone()))


@dataclass(frozen=True)
class Named:
    """What is said of a module that was in a file.

    Attributes:
        name: the file's stem.
        sha256: of the file.
        kind: what loaded it.
        architecture: as that calls it.
        multiple: that height and width must be of.
        least: LR pixels a side that it needs.
        tiling: what becomes of tiles, in one word; empty if nothing is said.
    """

    name: str
    sha256: str
    kind: str
    architecture: str
    multiple: int = 1
    least: int = 1
    tiling: str = ""


def open_module(
    module: nn.Module, picture: PictureFormat, scale: int | None = None, named: Named | None = None
) -> ForeignNetwork:
    """A module in memory; a copy of it, so that nothing that happens to it later is exported.

    Args:
        module: float32 [N, C, H, W] -> [N, C, sH, sW]; on any device, in any mode.
        picture: what it takes for a picture.
        scale: that is expected; None for whichever is found by running it.
        named: what is said of it; None for the name of its class, the hash of its weights, and sizes that are found by
            running it alone.

    Raises:
        DefianError: it cannot be copied or run, is no super-resolution network, or one of another scale.
    """
    kind = type(module).__name__ if named is None else named.architecture
    network = _frozen(module, kind)
    run = _runner(network)
    fit = find_fit(run, picture.count, ANY_SIZE)
    if named is not None:
        fit = fit.demanding(named.multiple, named.least)
    fit, kernels = _pooling(run, picture.count, fit, kind)
    if scale is not None and fit.scale != scale:
        raise DefianError(f"{kind}: expected a network of scale {scale}, found that it enlarges by {fit.scale}.")
    _fuse(network, run, picture.count, fit)
    named = named or Named(f"{kind.lower()}-x{fit.scale}", _digest(module), "module", kind)
    identity = Identity(named.name, named.sha256, named.kind, kind, "PyTorch")
    reach = measure_reach(run, picture.count, fit, ANY_SIZE)
    nature = Nature(picture, fit, reach, tiling=named.tiling)
    return ForeignNetwork(identity, run, cache(lambda: _traced(network, picture.count, fit, kernels)), nature)


def _frozen(module: nn.Module, kind: str) -> _Isolated:
    try:
        copied = copy.deepcopy(module)
    except Exception as error:
        raise DefianError(f"{kind} cannot be copied: {one_line(error)}", "Give it without hooks and caches.") from error
    network = _Isolated(copied.to("cpu", torch.float32)).eval().requires_grad_(requires_grad=False)
    bad = next((name for name, value in copied.state_dict().items() if not torch.isfinite(value).all()), None)
    if bad is not None:
        raise DefianError(f"{kind}: expected finite weights, found NaN or Inf in {bad}.", "Train it again.")
    return network


def _runner(network: nn.Module) -> Run:
    def run(values: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(np.ascontiguousarray(values))).numpy()

    return run


def _one_tensor(result: object) -> Tensor:
    if isinstance(result, (tuple, list)) and len(result) == 1:
        result = result[0]
    if not isinstance(result, Tensor):
        many = f"{len(result)} results" if isinstance(result, (tuple, list, dict)) else type(result).__name__
        raise DefianError(
            f"Expected a network that gives one tensor, found one that gives {many}.",
            "Wrap it in a module that gives the picture alone.",
        )
    return result


def _fuse(network: nn.Module, run: Run, channels: int, fit: Fit) -> None:
    """Fuse re-parameterised blocks and keep them from computing their weights anew, in place.

    Raises:
        DefianError: the fused network is another one.
    """
    image = np.random.default_rng(2).random((1, channels, fit.padded(SMALL), fit.padded(SMALL + 3)))
    before, fused = run(image.astype(np.float32)), False
    for block in list(network.modules()):
        for name in FUSERS:
            if callable(getattr(block, name, None)):
                getattr(block, name)()
                fused = True
        if all(hasattr(block, name) for name in REFRESHED):
            setattr(block, REFRESHED[0], lambda *_, **__: None)
            fused = True
    network.eval().requires_grad_(requires_grad=False)
    if fused and not np.abs(run(image.astype(np.float32)) - before).max() <= FUSED_TOLERANCE * np.abs(before).max():
        raise DefianError(
            "The network gives other pictures once its re-parameterised blocks are fused.",
            f"Fuse them yourself; what was called is {', '.join(FUSERS)}.",
        )


def _digest(module: nn.Module) -> str:
    """Of the weights as safetensors, in the order of their names."""
    state = {key: value.detach().to("cpu").clone().contiguous() for key, value in module.state_dict().items()}
    return hashlib.sha256(save(dict(sorted(state.items())))).hexdigest()


def _pooling(run: Run, channels: int, fit: Fit, kind: str) -> tuple[Fit, list[Kernel]]:
    """Multiples of which every adaptive max pooling is a plain one, and by how much each pools then.

    Raises:
        DefianError: there are none.
    """
    for factor in MULTIPLES:
        demanding = fit.demanding(fit.multiple * factor)
        if factor > 1 and demanding.multiple > MULTIPLES[-1]:
            break
        sizes = [tuple(map(demanding.padded, size)) for size in sample_sides(demanding.multiple)]
        seen = [kernels_of(partial(run, np.zeros((1, channels, *size), np.float32))) for size in sizes]
        kernels = [each for each in seen[0] if each is not None]
        if seen == [kernels] * len(seen):
            return demanding, kernels
    raise DefianError(
        f"{kind} pools to sizes that are no fraction of its picture's (adaptive_max_pool2d), which ONNX cannot say.",
        "Pool by torch.nn.functional.max_pool2d.",
    )


def _traced(network: nn.Module, channels: int, fit: Fit, kernels: list[Kernel]) -> ir.Model:
    height, width = trace_size(network, fit)
    if kernels:
        network = PlainPooling(network, kernels)
    dynamic = {
        0: torch.export.Dim.DYNAMIC(min=1, max=MAX_BATCH),
        2: torch.export.Dim.DYNAMIC(min=max(fit.least, 2), max=MAX_SIDE),
        3: torch.export.Dim.DYNAMIC(min=max(fit.least, 2), max=MAX_SIDE),
    }
    example = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))
    try:
        with open_integers(network):
            model = export_graph(network, example, dynamic, ("values", "result"))
    except DefianError:  # code that needs int itself, as in dtype=int; the graph is held against the network anyway
        model = export_graph(network, example, dynamic, ("values", "result"))
    clean_names(model)
    simplify(model)
    free_sizes(model, batch=True, height=True, width=True)
    return model


def trace_size(network: nn.Module, fit: Fit) -> tuple[int, int]:
    """Height and width that are no size which the network was made for, padded by itself or not, and differ."""
    avoided = set(_own_sizes(network))

    def is_own(side: int) -> bool:
        return any(-(-side // window) * window in avoided for window in WINDOWS)

    first = -(-max(SMALL, fit.least) // fit.multiple)
    sides = (fit.multiple * (first + step) for step in range(10_000))
    free = (side for side in sides if not is_own(side))
    height = next(free)
    width = next(side for side in free if side % height and side > height + fit.multiple)
    return height, width


def _own_sizes(network: nn.Module) -> Iterator[int]:
    """Numbers that a module keeps as the size of its image."""
    for block in network.modules():
        for name, value in vars(block).items():
            if "size" in name or "resolution" in name:
                yield from _integers(value)


def _integers(value: Any) -> Iterator[int]:  # noqa: ANN401 - whatever a user's module holds
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _integers(each)
