"""What workers of a Ray cluster are worth: photos a second, memory of the program that asks, and how long they wait.

    python -m tools.scale throughput build/defian-s-x2.fp32.onnx --size 320x180 --photos 16
    python -m tools.scale memory build/defian-s-x2.fp32.onnx --photos 10000
    python -m tools.scale waiting build/defian-s-x2.fp32.onnx --workers 4 16 --seconds 0.5 1 2

``throughput``: one process with one thread and two workers with one thread each take turns at photos of noise. A rate
counts from the moment when each worker has finished a photo, so that no start is in it. Beside it stands what a photo
costs in processor seconds, Ray's own daemons included: where other programs keep the machine busy, two workers get a
larger or a smaller part of it than one process, and twice the ratio of these seconds says what two free cores give.

``memory``: photos of 8x8 pixels by two workers whose session repeats pixels; told is what the program that asked has
in memory after every tenth of them.

``waiting``: a simulation. Sessions sleep for a fixed time, as while a GPU computes; the workers are processes of a real
cluster on this machine, which is told to have as many CPUs as there are workers. A worker waits from when it has done a
photo, read and written, until it is given the next. Several ``--workers`` and ``--seconds`` make a table.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from defian_edge.runtime.arguments import count_of, number_of, path_of
from defian_edge.runtime.batch import Work
from defian_edge.runtime.cluster import pool as cluster_pool
from defian_edge.runtime.cluster import run as cluster_run
from defian_edge.runtime.cluster.options import LOCAL, Cluster
from defian_edge.runtime.cluster.worker import Worker
from defian_edge.runtime.entry import begin, carry_out
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.guard import FrameGuard
from defian_edge.runtime.jobs import plan
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.opening import Opening
from tools.study import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True)
class Sleeping(Opening):
    """Opens a session that repeats pixels after a fixed time.

    Attributes:
        seconds: that a picture takes.
        folder: every worker notes there when each of its photos began and ended.
    """

    seconds: float = 0.0
    folder: Path = Path()

    def open(self) -> Any:  # noqa: ANN401 - a session, as far as photos need one
        """The session."""
        return Sleeper(self)


class Sleeper:
    """A session that sleeps and repeats pixels."""

    tiling: None = None
    cut: int = 0
    profile: None = None

    def __init__(self, how: Sleeping) -> None:
        self._how, self.guard, self.manifest = how, FrameGuard(), read_manifest(how.engine)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Uint8 RGB [N, H, W, 3] to the same, larger by the manifest's scale."""
        time.sleep(self._how.seconds)
        return images.repeat(self.manifest.scale, axis=1).repeat(self.manifest.scale, axis=2)

    def upscale_frames(self, frames: Iterable[NDArray[np.uint8]]) -> Generator[NDArray[np.uint8], None, None]:
        """The same for frames."""
        for frame in frames:
            yield self(frame[None])[0]

    def describe(self) -> str:
        """One line."""
        return f"repeats pixels after {self._how.seconds:g} s"


class Watched(Worker):
    """A worker that notes when it began and ended what it was given."""

    def __init__(self, work: Work, *given: Any, **named: Any) -> None:  # noqa: ANN401 - as Worker takes it
        super().__init__(work, *given, **named)
        how: Any = work.opening
        self._notes = (how.folder / str(os.getpid())).open("a", buffering=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """As Worker does it."""
        begun = time.time()
        made = super().__call__(batch)
        self._notes.write(f"{begun} {time.time()}\n")
        return made


def write_photos(folder: Path, count: int, width: int, height: int) -> Path:
    """Photos of noise."""
    folder.mkdir()
    numbers = np.random.default_rng(0)
    for index in range(count):
        pixels = numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:06}.png", compress_level=1)
    return folder


def on_ray(work: Work, folder: Path, workers: int) -> None:
    """Do a folder on a cluster that is started for it."""
    work.out.mkdir()
    tally = cluster_run.run_on_ray(
        work, plan([folder], work.out).jobs, Cluster(LOCAL, workers, 0), [folder], alone=False
    )
    if tally.failures:
        raise DefianError(f"{len(tally.failures)} photos failed, the first: {tally.failures[0]}")


def alone(work: Work, folder: Path) -> float:
    """Do a folder in this process, with one thread; the processor's seconds after the session was opened."""
    work.out.mkdir()
    with replace(work.opening, threads=1).open() as session:
        begun = time.process_time()
        work.batch(session).run(plan([folder], work.out).jobs)
        return time.process_time() - begun


def rate_of(out: Path, workers: int) -> float:
    """Photos a second, from when each worker can have finished one."""
    ends = sorted(path.stat().st_mtime for path in out.glob("*.png"))
    return (len(ends) - workers) / (ends[-1] - ends[workers - 1])


def throughput(options: argparse.Namespace, folder: Path) -> None:
    """Two workers against one process, in turns."""
    width, height = options.size
    photos = write_photos(folder / "in", options.photos, width, height)
    rounds: list[tuple[float, float]] = []
    for number in range(options.rounds):
        one = Work(Opening(options.engine), folder / f"one{number}")
        two = replace(one, out=folder / f"two{number}")
        of_one = alone(one, photos) / options.photos
        with watched(_processor_ticks) as seen:
            on_ray(two, photos, 2)
        ticks = sum(spent - seen[1].get(process, 0) for process, spent in seen[-1].items())
        of_two = ticks / os.sysconf("SC_CLK_TCK") / (len(seen) - 2)
        rates = rate_of(one.out, 1), rate_of(two.out, 2)
        rounds.append((rates[1] / rates[0], 2 * of_one / of_two))
        said = f"one process {rates[0]:.3f}/s, two workers {rates[1]:.3f}/s, {rounds[-1][0]:.2f} times"
        cpu = f"processor seconds a photo {of_one:.2f} and {of_two:.2f}, {rounds[-1][1]:.2f} times"
        print(f"{said}; {cpu}; load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    clock, cpu = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"median of {len(rounds)} rounds: {clock:.2f} times by the clock, {cpu:.2f} by the processor's seconds")


@contextmanager
def watched(look: Callable[[], T]) -> Iterator[list[T]]:
    """What is seen whenever the program that asks takes what became of a photo."""
    told, seen = cluster_run._Run._take, list[T]()  # noqa: SLF001 - where an outcome comes in

    def noting(*given: Any) -> None:  # noqa: ANN401
        told(*given)
        seen.append(look())

    cluster_run._Run._take = noting  # type: ignore[method-assign]  # noqa: SLF001
    try:
        yield seen
    finally:
        cluster_run._Run._take = told  # type: ignore[method-assign]  # noqa: SLF001


def _processor_ticks() -> dict[int, int]:
    """Of this process and all that it has started, a cluster's daemons included, by their numbers."""
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)], spent[int(entry.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    mine: dict[int, int] = {}
    for process, ticks in spent.items():
        above: int | None = process
        while above is not None and above != os.getpid():
            above = parents.get(above)
        if above is not None:
            mine[process] = ticks
    return mine


def memory(options: argparse.Namespace, folder: Path) -> None:
    """What this process has in memory while small photos are done."""
    photos = write_photos(folder / "in", options.photos, 8, 8)
    seen = [0]

    def look() -> float:
        seen[0] += 1
        taken = _resident()
        if seen[0] % max(1, options.photos // 10) == 0:
            print(f"after {seen[0]} photos {taken / 1e6:.0f} MB in memory", file=sys.stderr, flush=True)
        return taken

    with watched(look):
        on_ray(Work(Sleeping(options.engine, folder=folder), folder / "out"), photos, 2)


def waiting(options: argparse.Namespace, folder: Path) -> None:
    """The share of their time in which workers have nothing to do, for every time of a photo and number of workers."""
    print("| s a photo | " + " | ".join(f"{workers} workers" for workers in options.workers) + " | load |")
    print("|---|" + "---|" * (len(options.workers) + 1))
    for seconds in options.seconds:
        shares = []
        for workers in options.workers:
            place = folder / f"{seconds:g}-{workers}"
            place.mkdir()
            shares.append(waited(options, place, workers, seconds))
        cells = " | ".join(f"{share:.1%}" for share in shares)
        print(f"| {seconds:g} | {cells} | {os.getloadavg()[0]:.1f} |", flush=True)


def waited(options: argparse.Namespace, folder: Path, workers: int, seconds: float) -> float:
    """The share for one number of workers."""
    os.environ["RAY_OVERRIDE_RESOURCES"] = f'{{"CPU": {workers}}}'
    photos = write_photos(folder / "in", workers * options.photos_each, 8, 8)
    notes = folder / "notes"
    notes.mkdir()
    work = Work(Sleeping(options.engine, seconds=seconds, folder=notes), folder / "out")
    cluster_pool.Worker = Watched
    try:
        with redirect_stdout(io.StringIO()):
            on_ray(work, photos, workers)
    finally:
        cluster_pool.Worker = Worker
    return idle_share(notes)


def idle_share(notes: Path) -> float:
    """The share of the time from each worker's first photo to its last that lies between two of its photos."""
    idle = spent = 0.0
    for path in notes.iterdir():
        times = [tuple(map(float, line.split())) for line in path.read_text().splitlines()]
        idle += sum(begun - ended for (_, ended), (begun, _) in itertools.pairwise(times))
        spent += times[-1][1] - times[0][0] if times else 0.0
    return idle / spent


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _run(options: argparse.Namespace) -> int:
    read_manifest(options.engine)
    with tempfile.TemporaryDirectory() as folder:
        {"throughput": throughput, "memory": memory, "waiting": waiting}[options.what](options, Path(folder))
    return 0


def main() -> None:
    """Print what was measured; exits with 2 on bad input."""
    begin()
    parser = argparse.ArgumentParser(prog="python -m tools.scale", description="What workers of a cluster are worth.")
    parser.add_argument("what", choices=["throughput", "memory", "waiting"])
    parser.add_argument("engine", type=path_of("ENGINE"), help="a .onnx file built by export.py")
    size = size_of("--size")
    parser.add_argument("--size", type=size, default=(320, 180), help="WxH of throughput's photos; default 320x180")
    parser.add_argument("--photos", type=count_of("--photos", 4), default=16)
    parser.add_argument("--rounds", type=count_of("--rounds", 1), default=3)
    workers = count_of("--workers", 1, 512)
    parser.add_argument("--workers", type=workers, nargs="+", default=[16], help="of waiting; default 16")
    parser.add_argument("--photos-each", type=count_of("--photos-each", 2), default=20, help="of waiting; default 20")
    seconds = number_of("--seconds", 0, 60)
    parser.add_argument("--seconds", type=seconds, nargs="+", default=[1.0], help="of waiting; default 1")
    carry_out(lambda: _run(parser.parse_args()), "interrupted")


if __name__ == "__main__":
    main()
