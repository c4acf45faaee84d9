"""A run on a real Ray cluster makes what a single process makes, whoever dies in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from defian_edge.runtime.cluster import checks
from defian_edge.runtime.cluster.options import Cluster
from defian_edge.runtime.cluster.run import run_on_ray
from defian_edge.runtime.command import main
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.jobs import plan
from defian_edge.runtime.resume import RECORDS
from tests.conftest import REPOSITORY, noise
from tests.doubles.ray_cluster import CPUS
from tests.doubles.ray_runs import many, on_ray, slow, start_and_kill
from tests.runtime.test_shards import results

if TYPE_CHECKING:
    from pathlib import Path


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
def alone(photos, shared_graph, tmp_path_factory) -> tuple[dict[str, bytes], str]:
    """What a single process makes, and what it says on standard error."""
    out = tmp_path_factory.mktemp("alone")
    command = [sys.executable, "-m", "defian_edge", "run", photos, "--engine", shared_graph, "--out", out]
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
    cluster, photos, shared_graph, alone, tmp_path, capsys, monkeypatch, workers
):
    import ray.data

    out = tmp_path / "sr"
    pools: list[dict[str, Any]] = []
    real = ray.data.ActorPoolStrategy
    monkeypatch.setattr(ray.data, "ActorPoolStrategy", lambda **how: pools.append(how) or real(**how))
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    address = "auto" if workers == 4 else cluster.address
    command = (photos, "--engine", shared_graph, "--out", out, "--ray", address, "--workers", workers)
    status, said, wrong = run(capsys, *command)
    expected, errors = alone
    assert status == 1, wrong
    assert pools == [{"size": workers, "max_tasks_in_flight_per_actor": 2}], "one that is done, and the next"
    assert wrong == errors, "a photo that fails is told in the words of a single run"
    assert results(out) == expected
    assert said.count(" -> ") == len(expected)
    assert said.startswith(f"{workers} worker{'s' * (workers > 1)} with {CPUS // workers} thread")
    assert "tiny x2 fp32, ONNX Runtime CPUExecutionProvider" in said


def test_single_runs_shards_and_ray_resume_one_another(cluster, photos, shared_graph, alone, tmp_path, capsys):
    out, expected = tmp_path / "sr", len(alone[0])
    command = (photos, "--engine", shared_graph, "--out", out)
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


def test_a_worker_that_is_killed_in_the_middle_costs_nothing(cluster, shared_graph, tmp_path):
    work, count = slow(shared_graph, tmp_path, seconds=0.1), 40
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


def test_a_file_that_kills_its_workers_fails_alone(cluster, shared_graph, tmp_path, capfd):
    """It comes first, so that others wait at its workers."""
    work = slow(shared_graph, tmp_path, seconds=0.3, deadly=7)
    folder = many(tmp_path, 6)
    deadly = folder / "000 deadly.png"
    Image.fromarray(noise(4, 7, 3)).save(deadly)
    tally = on_ray(work, folder, cluster.address, 2)
    assert tally.failures == [f"{deadly}: 3 workers were lost over it, one after the other, as where memory is short."]
    assert tally.done + tally.skipped == 6
    said = capfd.readouterr()
    assert "left by lost workers, and done again one by one: " in said.err
    assert "raylet" not in said.out + said.err, "nothing of Ray's own is shown"


def test_when_the_program_is_killed_its_workers_end_and_the_same_command_goes_on(cluster, shared_graph, tmp_path):
    work, folder, count = slow(shared_graph, tmp_path, seconds=0.4), many(tmp_path, 24), 24
    start_and_kill(work, folder, cluster.address, lambda: len(list(work.out.glob("*.png"))) >= 6)
    finished = len(list(work.out.glob("*.png")))
    assert 6 <= finished < count
    jobs = plan([folder], work.out).jobs
    tally = run_on_ray(work, jobs, Cluster(cluster.address, 1, 0), [folder], alone=False)
    assert tally.failures == []
    assert tally.skipped in (finished - 1, finished, finished - 2), "a result may lack its record"
    assert tally.done + tally.skipped == count
    assert len(results(work.out)) == count


def test_a_machine_of_another_version_or_without_the_folder_is_refused(cluster, shared_graph, tmp_path, monkeypatch):
    work, folder = slow(shared_graph, tmp_path), many(tmp_path, 1)
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
