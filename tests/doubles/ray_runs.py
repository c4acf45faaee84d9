"""Runs of many small files on a Ray cluster with sessions that take their time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from defian_edge.runtime.batch import Tally, Work
from defian_edge.runtime.cluster.options import Cluster
from defian_edge.runtime.cluster.run import run_on_ray
from defian_edge.runtime.jobs import plan
from tests.conftest import REPOSITORY, noise
from tests.doubles.slow_session import SlowOpening

if TYPE_CHECKING:
    from collections.abc import Callable


def slow(graph: Path, tmp_path: Path, **how: object) -> Work:
    pids = tmp_path / "pids"
    pids.mkdir()
    return Work(SlowOpening(graph, folder=pids, **how), tmp_path / "sr")  # type: ignore[arg-type]


def many(tmp_path: Path, count: int) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(count):
        Image.fromarray(noise(4, 5, 3, seed=number)).save(folder / f"{number:03}.png")
    return folder


def on_ray(work: Work, folder: Path, address: str, workers: int) -> Tally:
    work.out.mkdir(exist_ok=True)
    return run_on_ray(
        work, plan([folder], work.out, work.encoding).jobs, Cluster(address, workers, 0), [folder], alone=False
    )


PROGRAM = """
import sys
from pathlib import Path
from tests.doubles.ray_runs import on_ray
from tests.doubles.slow_session import SlowOpening
from defian_edge.runtime.batch import Work
from defian_edge.runtime.cluster import films
from defian_edge.runtime.video_encoder import Encoding
cut = films.parts_of
films.parts_of = lambda path: cut(path, 10)
graph, folder, photos, out, address, seconds = sys.argv[1:]
opening = SlowOpening(Path(graph), folder=Path(folder), seconds=float(seconds))
on_ray(Work(opening, Path(out), encoding=Encoding("ffv1")), Path(photos), address, 2)
"""


def start_and_kill(work: Work, folder: Path, address: str, when: Callable[[], bool]) -> None:
    """Run a program of its own until something is true, and kill it; its workers end by themselves."""
    how: Any = work.opening
    given = (how.engine, how.folder, folder, work.out, address, how.seconds)
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, given)], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    try:
        while not when():
            assert program.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        program.kill()
        program.wait()
    until = time.monotonic() + 120
    workers = [int(path.stem) for path in how.folder.iterdir()]
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < until, "a worker outlives the program that asked"
        time.sleep(0.1)
