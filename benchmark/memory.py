"""Peak host memory of one artefact, in a process of its own: ``python -m benchmark.memory ARTEFACT 1x90x160``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import DefianError
from runtime.profile import ShapeProfile

if TYPE_CHECKING:
    from runtime.profile import Shape

STATUS = Path("/proc/self/status")
RUNS = 2


@dataclass(frozen=True)
class HostMemory:
    """Resident memory of a process that loads and runs one artefact, bytes: loaded, and at its peak."""

    loaded: int
    peak: int


def measure_host_memory(artefact: str, shape: Shape, provider: str) -> HostMemory | None:
    """Run the artefact in a fresh process; None where the system does not say a process's peak (not Linux).

    Raises:
        DefianError: the process failed; with its last words.
    """
    if not STATUS.exists():
        return None
    root = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *([inherited] if inherited else [])])}
    command = [sys.executable, "-m", "benchmark.memory", artefact, "x".join(map(str, shape)), provider]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise DefianError(f"Measuring the memory of {artefact} failed: {last}", "Leave it out with --no-memory.")
    return HostMemory(**json.loads(done.stdout.splitlines()[-1]))


def _probe(artefact: str, shape: Shape, provider: str) -> HostMemory:
    import numpy as np

    from benchmark.candidates import open_candidates

    with ExitStack() as stack:
        [candidate] = open_candidates([artefact], provider, stack)
        if candidate.run is None:
            raise DefianError(f"{artefact}: {candidate.not_run}.")
        loaded = _resident("VmRSS")
        batch = np.zeros((*shape, 3), np.uint8)
        for _ in range(RUNS):
            candidate.run(batch)
        return HostMemory(loaded, _resident("VmHWM"))


def _resident(field: str) -> int:
    # VmHWM, not getrusage: a child inherits ru_maxrss from the process that forked it.
    found = re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    if found is None:
        raise DefianError(f"{STATUS} has no {field}.")
    return int(found[1]) * 1024


if __name__ == "__main__":
    try:
        probed = _probe(sys.argv[1], ShapeProfile.parse(sys.argv[2]).optimum, sys.argv[3])
    except DefianError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps({"loaded": probed.loaded, "peak": probed.peak}))
