"""What a command line says of a Ray cluster, refused at once where it makes no sense."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import count_of, number_of, shown
from ..errors import DefianError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

LOCAL, AUTO = "local", "auto"
MOST_WORKERS, MOST_GPUS = 10_000, 64
_UNSHARED = ("/dev/", "/proc/")
"""Where paths lead to what only one process or machine has, such as its standard input."""


@dataclass(frozen=True)
class Cluster:
    """A cluster, and how much of it is wanted.

    Attributes:
        address: ``local`` for one that is started on this machine and ends with the run, ``auto`` for the one that this
            machine is part of, or the ``HOST:PORT`` of a head node.
        workers: processes that have a session; None for as many as there is room for.
        gpus: that each of them has, a whole number or a share of one; 0 for none, where a graph runs on the CPU.
    """

    address: str
    workers: int | None
    gpus: float


def add_cluster_options(parser: ArgumentParser) -> None:
    """``--ray``, ``--workers`` and ``--gpus-per-worker``."""
    parser.add_argument(
        "--ray",
        type=_address,
        metavar="ADDRESS",
        help="do the files on a Ray cluster: local starts one here, auto joins this machine's, or HOST:PORT",
    )
    parser.add_argument(
        "--workers",
        type=count_of("--workers", 1, MOST_WORKERS),
        metavar="N",
        help="with --ray: processes with a session; default as many as there is room for",
    )
    parser.add_argument(
        "--gpus-per-worker",
        type=_gpus,
        metavar="N",
        help="with --ray: GPUs of each, or a share such as 0.5; default 1, and 0 for a graph on the CPU",
    )


def cluster_of(options: Namespace) -> Cluster | None:
    """The cluster that is asked for; None for none.

    Raises:
        DefianError: options that do not go together, or paths that other machines do not have.
    """
    if options.ray is None:
        for option, given in (("--workers", options.workers), ("--gpus-per-worker", options.gpus_per_worker)):
            if given is not None:
                raise DefianError(f"{option} is for a Ray cluster.", "Add --ray local, auto or HOST:PORT.")
        return None
    if options.shard is not None:
        raise DefianError(
            f"--ray {options.ray} and --shard {options.shard}: both divide the files among machines.",
            "Leave one of them out: they resume one another.",
        )
    if options.rebuild:
        raise DefianError(
            f"--ray {options.ray} and --rebuild: every worker is to run the engine that was named.",
            "Build it on a machine of each kind first: the same command with --rebuild and one INPUT, without --ray.",
        )
    on_cpu = options.engine.suffix == ".onnx" and (options.provider or "cpu") == "cpu"
    gpus = options.gpus_per_worker
    if on_cpu and gpus:
        raise DefianError(
            f"--gpus-per-worker {gpus:g}: {options.engine.name} runs on the CPU.",
            "Leave it out, or add --provider cuda or tensorrt, or give an .engine file.",
        )
    if not on_cpu and gpus == 0:
        raise DefianError(f"--gpus-per-worker 0: {options.engine.name} needs a GPU.", "Leave --gpus-per-worker out.")
    _require_shared(options)
    return Cluster(options.ray, options.workers, gpus if gpus is not None else float(not on_cpu))


def _require_shared(options: Namespace) -> None:
    """Refuse paths that name something else, or nothing, in another process."""
    named = [("INPUT", path) for path in options.inputs]
    named += [("--engine", options.engine), ("--out", options.out)]
    named += [("--compare", options.compare)] if options.compare is not None else []
    for option, path in named:
        if str(path).startswith(_UNSHARED):
            raise DefianError(
                f"{option} {path}: workers are other processes, which do not have it.",
                "Save it as a file in a folder that all machines see.",
            )
        if options.ray != LOCAL and not path.is_absolute():
            raise DefianError(
                f"{option} {path}: expected a path from / on, since workers are in other folders.",
                f"Here it is {Path.cwd() / path}; all machines have to see it there.",
            )


def _address(text: str) -> str:
    if text in {LOCAL, AUTO}:
        return text
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):([0-9]{1,5})", text)
    if found is None or not 1 <= int(found[2]) <= 65535:
        hint = "An address of ray:// is for programs outside of the cluster: run this on one of its machines instead."
        raise DefianError(
            f"--ray {shown(text)}: expected local, auto, or the HOST:PORT of a head node.",
            hint if text.startswith("ray:") else "Its ray start --head has printed it; the port is 6379 by default.",
        )
    return text


def _gpus(text: str) -> float:
    found = number_of("--gpus-per-worker", 0, MOST_GPUS, "GPUs")(text)
    if found > 1 and not found.is_integer():
        raise DefianError(f"--gpus-per-worker {text}: expected a whole number, or a share of one GPU such as 0.5.")
    return found
