"""Names of the groups that are INT8 or not together, from the names of the convolutions in them.

``body.3.body_block.7.block.0`` and ``.block.2`` are the block ``body.3.body_block.7``; the chain of blocks of which it
is one hands on the residual stream ``body.3.stream``. Where names say nothing, groups are numbered.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import takewhile
from typing import TYPE_CHECKING

from defian_edge.export.graph import copy_of
from defian_edge.export.precision.int8.maps import rescaled
from defian_edge.export.precision.int8.structure import LINEAR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import onnx_ir as ir

    from defian_edge.export.precision.int8.structure import Block, Structure

UPSCALE, STREAM = "upscale", "stream"
PATH = re.compile(r"[A-Za-z_]\w*(\.\w+)+")
"""A name that tells where in its network a convolution stands."""


def named(model: ir.Model) -> ir.Model:
    """The model, or a copy of it in which every convolution and product has a name of its own.

    A convolution whose name is no path gets that of its weight, ``body.0.conv1`` of ``body.0.conv1.weight``, or of the
    scope that PyTorch's older exporter writes, ``/body/body.0/conv1/Conv``. A missing name, or one that another
    convolution has, becomes a number.
    """
    if not list(_renamed(model)):
        return model
    copy = copy_of(model)
    for node, name in list(_renamed(copy)):
        node.name = name
    return copy


def _renamed(model: ir.Model) -> Iterator[tuple[ir.Node, str]]:
    convolutions = [node for node in model.graph if node.op_type in LINEAR and len(node.inputs) > 1]
    taken = {node.name for node in model.graph if node.name}
    seen: set[str] = set()
    for index, node in enumerate(convolutions):
        weight = (node.inputs[1].name if len(node.inputs) > 1 and node.inputs[1] is not None else None) or ""
        old = node.name or ""
        path = weight.removesuffix(".weight") if weight.endswith(".weight") else _scope(old)
        if path and path != old and not PATH.fullmatch(old) and path not in taken:
            taken.add(path)
            yield node, path
        elif not old or old in seen:
            yield node, f"{node.op_type.lower()}_{index}"
        seen.add(old)


def _scope(name: str) -> str:
    """``/body/body.0/conv1/Conv`` -> ``body.0.conv1``; empty if the name has another form."""
    if not name.startswith("/"):
        return ""
    path = ""
    for part in name.split("/")[1:-1]:
        own = part if path and part.startswith(f"{path.rpartition('.')[2]}.") else ""
        path = f"{path.rpartition('.')[0]}.{own}".lstrip(".") if own else f"{path}.{part}".lstrip(".")
    return path if PATH.fullmatch(path) else ""


class Groups:
    """The groups of one graph.

    Attributes:
        of: convolution -> name of its group.
        streams: block -> name of the residual stream that it reads and hands on.
    """

    def __init__(self, structure: Structure) -> None:
        self.of: dict[ir.Node, str] = {node: node.name or "" for node in structure.wide}
        self.of |= dict.fromkeys(structure.upscaling, UPSCALE)
        paths = [common_path(node.name for node in block.convolutions) for block in structure.blocks]
        blocks = _different([_to_index(path) for path in paths], paths, "block")
        for name, block in zip(blocks, structure.blocks, strict=True):
            self.of |= dict.fromkeys(block.convolutions, name)
        branches = [common_path(node.name for node in each.members) for each in structure.attention]
        names = _different([_without_index(path) for path in branches], branches, "attention")
        for name, attention in zip(names, structure.attention, strict=True):
            self.of |= dict.fromkeys(attention.convolutions, name)
        self.streams: dict[Block, str] = {}
        chains = _chains(structure.blocks)
        held = dict(zip(structure.blocks, blocks, strict=True))
        found = [common_path((_without_index(held[block]) for block in chain), whole=True) for chain in chains]
        shorter = [path.rpartition(".")[0] or path for path in found]
        for name, chain in zip(_different(shorter, found, "body"), chains, strict=True):
            self.streams |= dict.fromkeys(chain, f"{name}.{STREAM}")


def common_path(names: Iterable[str | None], *, whole: bool = False) -> str:
    """The longest path that all names begin with: ``body.0.a``, ``body.0.b`` -> ``body.0``; empty if there is none.

    Names that are no paths do not count, unless ``whole``.
    """
    paths = [name.split(".") for name in names if name and (whole or PATH.fullmatch(name))]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in shared)


def _to_index(path: str) -> str:
    """``body.0.body_block.3.block`` -> ``body.0.body_block.3``; a path without a number stays."""
    parts = path.split(".")
    places = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: places[-1] + 1]) if places else path


def _without_index(path: str) -> str:
    """``body.0.coder.0`` -> ``body.0.coder``."""
    parts = path.split(".")
    while len(parts) > 1 and parts[-1].isdigit():
        parts.pop()
    return ".".join(parts)


def _different(short: Sequence[str], long: Sequence[str], kind: str) -> list[str]:
    """Short names where they differ from each other, else the long ones, else numbers."""
    often = Counter(short)
    names = [one if often[one] == 1 else other for one, other in zip(short, long, strict=True)]
    often, seen = Counter(names), Counter[str]()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if name and often[name] == 1 else f"{name or kind}.{seen[name] - 1}")
    return result


def _chains(blocks: Sequence[Block]) -> list[list[Block]]:
    """Blocks in order, each with those that take in its sum directly."""
    chains: list[list[Block]] = []
    for block in blocks:
        before = next((chain for chain in chains if _hands_on(chain[-1], block)), None)
        if before is None:
            chains.append([block])
        else:
            before.append(block)
    return chains


def _hands_on(first: Block, second: Block) -> bool:
    return second.carried in (first.total, rescaled(first.total))
