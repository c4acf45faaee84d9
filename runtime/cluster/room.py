"""How many workers a cluster has room for, and what each of them gets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .options import Cluster

NODES_SHOWN = 4


@dataclass(frozen=True)
class Node:
    """A machine of a cluster: Ray's identifier, its name, and how many CPUs and GPUs Ray gives out there."""

    identifier: str
    name: str
    cpus: float
    gpus: float

    def __str__(self) -> str:
        return f"{self.name}: {_counted(self.cpus, 'CPU')}, {_counted(self.gpus, 'GPU')}"


@dataclass(frozen=True)
class Share:
    """How many workers there are, and the CPUs and GPUs of each; on a CPU it has as many threads as CPUs."""

    workers: int
    cpus: int
    gpus: float

    def __str__(self) -> str:
        what = _counted(self.gpus, "GPU") if self.gpus else _counted(self.cpus, "thread")
        return f"{_counted(self.workers, 'worker')} with {what} each"


def nodes_of(ray: Any) -> list[Node]:  # noqa: ANN401 - the module
    """The machines that are up."""
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            resources = node["Resources"]
            name = node["NodeManagerHostname"]
            found.append(Node(node["NodeID"], name, resources.get("CPU", 0.0), resources.get("GPU", 0.0)))
    return found


def share_of(nodes: Sequence[Node], cluster: Cluster) -> Share:
    """What every worker gets: on GPUs one CPU and its GPUs, else an equal share of the CPUs.

    On CPUs a worker gets the most threads with which all of them still find room, each on one machine.

    Raises:
        DefianError: the machines have not so much.
    """
    gpus = cluster.gpus
    room = sum(_room(node, 1, gpus) for node in nodes)
    workers = room if cluster.workers is None else cluster.workers
    if not 1 <= workers <= room:
        what = f"with {_counted(gpus, 'GPU')}" if gpus else "with a CPU"
        asked = f"{_counted(max(workers, 1), 'worker')} {what} each"
        shown = "; ".join(map(str, nodes[:NODES_SHOWN])) + ("; ..." if len(nodes) > NODES_SHOWN else "")
        raise DefianError(
            f"Expected room for {asked}, found it for {room} on {_counted(len(nodes), 'machine')} ({shown}).",
            f"Take --workers {room}, or add machines to the cluster." if room else "Add machines to the cluster.",
        )
    if gpus:
        return Share(workers, 1, gpus)
    threads = 1
    while sum(_room(node, threads + 1, 0) for node in nodes) >= workers:
        threads += 1
    return Share(workers, threads, 0)


def _room(node: Node, cpus: int, gpus: float) -> int:
    room = math.floor(node.cpus / cpus)
    if gpus:
        whole = math.floor(node.gpus)
        room = min(room, whole * math.floor(1 / gpus) if gpus < 1 else math.floor(whole / gpus))
    return room


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"
