"""A run on a real Ray cluster makes what a single process makes, whoever dies in the middle."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from defian_edge.runtime.batch import Tally, Work
from defian_edge.runtime.cluster import checks, films
from defian_edge.runtime.cluster import run as cluster_run
from defian_edge.runtime.cluster.options import Cluster
from defian_edge.runtime.cluster.run import run_on_ray
from defian_edge.runtime.command import main
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.jobs import plan
from defian_edge.runtime.manifest import Manifest
from defian_edge.runtime.resume import RECORDS
from defian_edge.runtime.video import upscale_video
from defian_edge.runtime.video_encoder import Encoding
from defian_edge.runtime.video_parts import Part, UncutError, parts_of
from tests.conftest import REPOSITORY, noise
from tests.doubles.ray_cluster import RayCluster, require_ray
from tests.doubles.slow_session import SlowOpening
from tests.runtime.test_shards import results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CPUS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    require_ray()
    with RayCluster(CPUS) as running:
        yield running


@pytest.fixture(scope="module")
def graph(tmp_path_factory, tiny_graph) -> Path:
    path = tmp_path_factory.mktemp("graph") / "tiny.fp32.onnx"
    path.write_bytes(tiny_graph)
    digest = hashlib.sha256(tiny_graph).hexdigest()
    manifest = Manifest(path.name, digest, "tiny", 2, "fp32", "uint8", "0" * 64, "python export.py --model tiny")
    manifest.write(path.parent)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Photos of several sizes; one is none."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(9):
        path = folder / f"{number % 2}" / f"ph\u00f6to {number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise(20 + number, 31, 3, seed=number)).save(path)
    (folder / "bad.png").write_bytes((folder / "0" / "ph\u00f6to 0.png").read_bytes()[:200])
    os.link(folder / "0" / "ph\u00f6to 2.png", os.fsencode(folder) + b"/no text \xff.png")
    return folder


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture(scope="module")
def alone(photos, graph, tmp_path_factory) -> tuple[dict[str, bytes], str]:
    """What a single process makes, and what it says on standard error."""
    out = tmp_path_factory.mktemp("alone")
    command = [sys.executable, "-m", "defian_edge", "run", photos, "--engine", graph, "--out", out]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{photos}/bad.png: ")
    return results(out), done.stderr


def sums(records: Path) -> dict[str, object]:
    """What the records say, but for what differs between two files of the same bytes."""
    found = {}
    for path in records.glob("*.json"):
        said = json.loads(path.read_bytes())
        found[said["name"]] = (said["source"], said["settings"], said["result"]["sha256"])
    return found


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_so_many_workers_make_what_one_process_makes_and_say_the_same(
    cluster, photos, graph, alone, tmp_path, capsys, monkeypatch, workers
):
    import ray.data

    out = tmp_path / "sr"
    pools: list[dict[str, Any]] = []
    real = ray.data.ActorPoolStrategy
    monkeypatch.setattr(ray.data, "ActorPoolStrategy", lambda **how: pools.append(how) or real(**how))
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    address = "auto" if workers == 4 else cluster.address
    command = (photos, "--engine", graph, "--out", out, "--ray", address, "--workers", workers)
    status, said, wrong = run(capsys, *command)
    expected, errors = alone
    assert status == 1, wrong
    assert pools == [{"size": workers, "max_tasks_in_flight_per_actor": 2}], "one that is done, and the next"
    assert wrong == errors, "a photo that fails is told in the words of a single run"
    assert results(out) == expected
    assert said.count(" -> ") == len(expected)
    assert said.startswith(f"{workers} worker{'s' * (workers > 1)} with {CPUS // workers} thread")
    assert "tiny x2 fp32, ONNX Runtime CPUExecutionProvider" in said


def test_single_runs_shards_and_ray_resume_one_another(cluster, photos, graph, alone, tmp_path, capsys):
    out, expected = tmp_path / "sr", len(alone[0])
    command = (photos, "--engine", graph, "--out", out)
    _, said, _ = run(capsys, *command, "--shard", "0/2")
    first = said.count(" -> ")
    _, said, _ = run(capsys, *command, "--ray", cluster.address, "--workers", 1)
    assert 0 < first < expected
    assert said.count(" -> ") == expected - first
    _, said, _ = run(capsys, *command)
    assert " -> " not in said
    assert f"{expected} of {expected + 1} were finished already" in said
    assert results(out) == alone[0]
    assert len(sums(out / RECORDS)) == expected


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


def test_a_worker_that_is_killed_in_the_middle_costs_nothing(cluster, graph, tmp_path):
    work, count = slow(graph, tmp_path, seconds=0.1), 40
    killed: list[int] = []

    def kill_one() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if len(list(work.out.glob("*.png"))) >= 5:
                killed.append(int(next(work.opening.folder.iterdir()).stem))  # type: ignore[attr-defined]
                os.kill(killed[0], signal.SIGKILL)
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_one)
    killer.start()
    tally = on_ray(work, many(tmp_path, count), cluster.address, 2)
    killer.join()
    assert len(killed) == 1
    assert tally.failures == []
    assert tally.done + tally.skipped == count, "one that was recorded and not told counts as finished"
    assert tally.skipped <= 1
    assert len(results(work.out)) == count
    opened = sorted(path.name for path in (tmp_path / "pids").iterdir())
    assert len(opened) == 3, "two workers, and one in the place of the first"
    assert all(name.endswith(".0") for name in opened), "a session opens once in each"


def test_a_file_that_kills_its_workers_fails_alone(cluster, graph, tmp_path, capfd):
    """It comes first, so that others wait at its workers."""
    work = slow(graph, tmp_path, seconds=0.3, deadly=7)
    folder = many(tmp_path, 6)
    deadly = folder / "000 deadly.png"
    Image.fromarray(noise(4, 7, 3)).save(deadly)
    tally = on_ray(work, folder, cluster.address, 2)
    assert tally.failures == [f"{deadly}: 3 workers were lost over it, one after the other, as where memory is short."]
    assert tally.done + tally.skipped == 6
    said = capfd.readouterr()
    assert "left by lost workers, and done again one by one: " in said.err
    assert "raylet" not in said.out + said.err, "nothing of Ray's own is shown"


PROGRAM = """
import sys
from pathlib import Path
from tests.runtime.test_ray import on_ray
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


def test_when_the_program_is_killed_its_workers_end_and_the_same_command_goes_on(cluster, graph, tmp_path):
    work, folder, count = slow(graph, tmp_path, seconds=0.4), many(tmp_path, 24), 24
    start_and_kill(work, folder, cluster.address, lambda: len(list(work.out.glob("*.png"))) >= 6)
    finished = len(list(work.out.glob("*.png")))
    assert 6 <= finished < count
    jobs = plan([folder], work.out).jobs
    tally = run_on_ray(work, jobs, Cluster(cluster.address, 1, 0), [folder], alone=False)
    assert tally.failures == []
    assert tally.skipped in (finished - 1, finished, finished - 2), "a result may lack its record"
    assert tally.done + tally.skipped == count
    assert len(results(work.out)) == count


@pytest.mark.skipif(find_spec("av") is None, reason="PyAV is not installed")
def test_a_film_is_done_in_parts_and_resumed_by_a_single_run(cluster, graph, tmp_path, monkeypatch, capsys):
    from tests.doubles.enlarger import Enlarger
    from tests.runtime.test_video_parts import read_film, write_film

    (tmp_path / "films").mkdir()
    source = write_film(tmp_path / "films" / "film.mkv")
    write_film(tmp_path / "films" / "old.mkv", frames=3)

    def cut(path: Path) -> tuple[Part, ...]:
        if path.stem == "old":
            raise UncutError("it has no times")
        return parts_of(path, 10)

    monkeypatch.setattr(films, "parts_of", cut)
    work = replace(slow(graph, tmp_path, seconds=0.01), encoding=Encoding("ffv1"))
    tally = on_ray(work, source.parent, cluster.address, 2)
    said = capsys.readouterr()
    assert (tally.done, tally.skipped, tally.failures, tally.frames) == (2, 0, [], 0)
    assert f"{source} -> {work.out / 'film.mkv'} (40 frames in 3 parts, joined in " in said.out
    assert said.err == f"note {source.parent / 'old.mkv'}: it is done in one piece (it has no times)\n"
    upscale_video(Enlarger(), source, tmp_path / "whole.mkv", lambda: None, work.encoding)
    found, expected = (read_film(path) for path in (work.out / "film.mkv", tmp_path / "whole.mkv"))
    assert all(np.array_equal(a, b) for a, b in zip(found[0], expected[0], strict=True))
    assert found[1:] == expected[1:]
    assert [path.name for path in (work.out / RECORDS).iterdir() if path.is_dir()] == [], "parts are gone"
    assert len(list((work.out / RECORDS).iterdir())) == 2
    jobs = plan([source.parent], work.out, work.encoding).jobs
    again = work.batch(Enlarger()).run(jobs)
    assert (again.done, again.skipped) == (0, 2)


@pytest.mark.skipif(find_spec("av") is None, reason="PyAV is not installed")
def test_parts_of_a_film_that_are_done_when_the_program_is_killed_are_not_done_again(
    cluster, graph, tmp_path, monkeypatch
):
    from tests.runtime.test_video_parts import FRAMES, read_film, write_film

    (tmp_path / "films").mkdir()
    source = write_film(tmp_path / "films" / "film.mkv")
    work = replace(slow(graph, tmp_path, seconds=0.1), encoding=Encoding("ffv1"))
    records = work.out / RECORDS
    start_and_kill(work, source.parent, cluster.address, lambda: any(records.glob("*.json")))
    done = {said["name"] for said in (json.loads(path.read_bytes()) for path in records.glob("*.json"))}
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in work.out.rglob("*.part")}
    before = {path: found for path, found in before.items() if any(name.endswith(path.name) for name in done)}
    assert before, "no part was done"
    during: list[dict[Path, tuple[int, int]]] = []
    monkeypatch.setattr(films, "parts_of", lambda path: parts_of(path, 10))
    real = cluster_run._Run._take

    def look(*given: Any) -> None:  # noqa: ANN401
        during.append({path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before if path.exists()})
        real(*given)

    monkeypatch.setattr(cluster_run._Run, "_take", look)
    jobs = plan([source.parent], work.out, work.encoding).jobs
    tally = run_on_ray(work, jobs, Cluster(cluster.address, 2, 0), [source.parent], alone=False)
    assert (tally.done, tally.failures) == (1, [])
    assert all(seen == before for seen in during[:-1]), "a part that was done is as it was"
    assert len(during) == 4, "three parts, and the film"
    assert during[-1] == {}, "parts are gone"
    assert len(read_film(work.out / "film.mkv")[0]) == FRAMES


def test_a_machine_of_another_version_or_without_the_folder_is_refused(cluster, graph, tmp_path, monkeypatch):
    work, folder = slow(graph, tmp_path), many(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(checks, "__version__", "9.9.9")
        with pytest.raises(DefianError, match=r"has defian-edge .*, expected 9\.9\.9 as here"):
            on_ray(work, folder, cluster.address, 1)
    work.out.rmdir()
    with pytest.raises(DefianError, match=r"Expected room for 9 workers with a CPU each, found it for 4 on 1 machine"):
        on_ray(work, folder, cluster.address, 9)
    work.out.rmdir()
    jobs = plan([folder], work.out).jobs
    work.out.mkdir()
    with pytest.raises(DefianError, match=r"4 GPUs each, found it for 0 on 1 machine \(.*: 4 CPUs, 0 GPUs\)"):
        run_on_ray(work, jobs, Cluster(cluster.address, 1, 4), [folder], alone=False)
    with pytest.raises(DefianError, match=r"does not see .*/nowhere"):
        run_on_ray(work, jobs, Cluster(cluster.address, 1, 0), [tmp_path / "nowhere"], alone=False)
    assert list((tmp_path / "pids").iterdir()) == [], "no worker was started"
    assert list(work.out.iterdir()) == [], "nothing of the checks is left"
