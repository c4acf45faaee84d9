"""Peak memory of one artefact: ``python -m defian_edge.benchmark.measure.memory FILE 1x90x160 cpu 0``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import defian_edge
from defian_edge.benchmark.gpu.memory import DeviceMemory, watch_device_memory
from defian_edge.runtime.errors import DefianError, MissingPackageError
from defian_edge.runtime.profile import ShapeProfile

if TYPE_CHECKING:
    from defian_edge.benchmark.candidates import Candidate
    from defian_edge.benchmark.gpu.memory import DeviceMemoryMeter
    from defian_edge.runtime.profile import Shape

STATUS = Path("/proc/self/status")
RUNS = 3
"""An engine captures its CUDA graph after the second run."""


@dataclass(frozen=True)
class HostMemory:
    """Resident memory of a process that loads and runs one artefact, bytes: loaded, and at its peak."""

    loaded: int
    peak: int


@dataclass(frozen=True)
class Memory:
    """What one artefact takes.

    Attributes:
        host: None where the system does not say a process's peak (not Linux).
        device: None where no GPU is used; ``no_device`` says why if one is and its memory is not known.
    """

    host: HostMemory | None
    device: DeviceMemory | None = None
    no_device: str = ""


def measure_memory(artefact: str, shape: Shape, provider: str, threads: int = 0) -> Memory:
    """Load and run the artefact in a fresh process, with as many CPU threads as it is timed with: each takes memory.

    Raises:
        DefianError: the process failed; with its last words.
    """
    root = str(Path(defian_edge.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *([inherited] if inherited else [])])}
    if threads:  # PyTorch's, told from outside: telling it inside would load it beside a graph that does not need it
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [
        sys.executable,
        "-m",
        "defian_edge.benchmark.measure.memory",
        artefact,
        "x".join(map(str, shape)),
        provider,
        str(threads),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise DefianError(f"Measuring the memory of {artefact} failed: {last}", "Leave it out with --no-memory.")
    said = json.loads(done.stdout.splitlines()[-1])
    host, device = said["host"], said["device"]
    return Memory(host and HostMemory(**host), device and DeviceMemory(**device), said["no_device"])


def probe(artefact: str, shape: Shape, provider: str, threads: int = 0) -> Memory:
    """Load and run the artefact in this process, which does nothing else.

    Raises:
        DefianError: it cannot be loaded or run.
    """
    import numpy as np

    from defian_edge.benchmark.candidates import open_candidates, uses_gpu

    with ExitStack() as stack:
        meter, reason = _meter(stack, on_gpu=uses_gpu(Path(artefact), provider))
        [candidate] = open_candidates([artefact], provider, stack, threads)
        if candidate.run is None:
            raise DefianError(f"{artefact}: {candidate.not_run}.")
        loaded = _resident("VmRSS")
        _run(candidate, np.zeros((*shape, 3), np.uint8), meter)
        peak = _resident("VmHWM")
        host = None if loaded is None or peak is None else HostMemory(loaded, peak)
        return Memory(host, None if meter is None else meter.result(), reason)


def _meter(stack: ExitStack, *, on_gpu: bool) -> tuple[DeviceMemoryMeter | None, str]:
    """The meter, or why a GPU that is used has none: ONNX Runtime needs no pycuda, and the meter does."""
    if not on_gpu:
        return None, ""
    try:
        return stack.enter_context(watch_device_memory()), ""
    except MissingPackageError as error:
        return None, error.message


def _run(candidate: Candidate, batch: object, meter: DeviceMemoryMeter | None) -> None:
    for turn in range(RUNS + 1):
        if turn and candidate.run is not None:
            candidate.run(batch)  # pyright: ignore[reportArgumentType]
        if meter is not None:
            meter.take()


def _resident(field: str) -> int | None:
    # VmHWM, not getrusage: a child inherits ru_maxrss from the process that forked it.
    if not STATUS.exists():
        return None
    found = re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    if found is None:
        raise DefianError(f"{STATUS} has no {field}.")
    return int(found[1]) * 1024


if __name__ == "__main__":
    try:
        probed = probe(sys.argv[1], ShapeProfile.parse(sys.argv[2]).optimum, sys.argv[3], int(sys.argv[4]))
    except DefianError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(asdict(probed)))
