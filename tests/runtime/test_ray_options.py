"""What a command line says of a cluster, and how much room there is: all that needs no Ray."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from defian_edge.runtime.batch import Work
from defian_edge.runtime.cluster import checks
from defian_edge.runtime.cluster.checks import Paths, _require, _require_reply
from defian_edge.runtime.cluster.messages import Outcome, Task
from defian_edge.runtime.cluster.options import Cluster
from defian_edge.runtime.cluster.room import Node, share_of
from defian_edge.runtime.cluster.worker import Worker
from defian_edge.runtime.command import main
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import DiskFullError
from defian_edge.runtime.jobs import Job
from defian_edge.runtime.opening import Opening
from defian_edge.runtime.resume import Fingerprint
from defian_edge.runtime.video_parts import Part
from tests.conftest import REPOSITORY, noise
from tests.doubles.graph_file import write_file


@pytest.fixture
def command(tmp_path) -> list[str]:
    """A command that would do a photo, if its graph were one."""
    Image.fromarray(noise(6, 7, 3)).save(tmp_path / "a.png")
    graph = write_file(tmp_path / "g.onnx", b"graph")
    return [str(tmp_path / "a.png"), "--engine", str(graph), "--out", str(tmp_path / "sr")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ray", "ray://head:10001"], r"run this on one of its machines"),
        (["--ray", "somewhere"], r"expected local, auto, or the HOST:PORT"),
        (["--ray", "head:0"], r"expected local, auto, or the HOST:PORT"),
        (["--ray", "head:99999"], r"expected local, auto, or the HOST:PORT"),
        (["--ray", ""], r"expected local, auto, or the HOST:PORT"),
        (["--ray", "local", "--workers", "0"], r"--workers '0': expected a whole number from 1 to 10000"),
        (["--ray", "local", "--workers", "-1"], r"--workers '-1': expected a whole number from 1"),
        (["--ray", "local", "--gpus-per-worker", "1.5"], r"expected a whole number, or a share of one"),
        (["--ray", "local", "--gpus-per-worker", "nan"], r"--gpus-per-worker 'nan': expected GPUs from 0"),
        (["--ray", "local", "--gpus-per-worker", "1"], r"--gpus-per-worker 1: g\.onnx runs on the CPU"),
        (["--ray", "local", "--gpus-per-worker", "0", "--provider", "cuda"], r"g\.onnx needs a GPU"),
        (["--ray", "local", "--shard", "0/4"], r"both divide the files.*they resume one another"),
        (["--ray", "local", "--rebuild"], r"every worker is to run the engine that was named"),
        (["--workers", "2"], r"--workers is for a Ray cluster.*--ray local"),
        (["--gpus-per-worker", "1"], r"--gpus-per-worker is for a Ray cluster"),
        (["--ray", "local", "/dev/stdin"], r"INPUT /dev/stdin: workers are other processes"),
    ],
)
def test_what_makes_no_sense_is_refused_before_ray_is_loaded(command, options, message, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as ended:
        main([*options, *command])
    said = capsys.readouterr().err.replace("\n", " ")
    assert ended.value.code == 2
    assert re.search(message, said), said
    assert not Path(command[-1]).exists()


@pytest.mark.parametrize("option", ["INPUT", "--engine", "--out", "--compare"])
def test_relative_paths_are_for_a_local_cluster_alone(command, option, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(tmp_path)
    given = [*command, "--compare", str(tmp_path)]
    place = 0 if option == "INPUT" else given.index(option) + 1
    given[place] = Path(given[place]).name
    with pytest.raises(SystemExit) as ended:
        main([*given, "--ray", "head:6379"])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"{option} {given[place]}: expected a path from /" in said
    assert f"Here it is {tmp_path / given[place]}" in said


def test_without_ray_the_command_says_what_to_install(command, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as ended:
        main([*command, "--ray", "local"])
    assert ended.value.code == 2
    assert "pip install 'defian-edge[ray]'" in capsys.readouterr().err


def test_without_the_option_nothing_of_ray_is_imported(command):
    code = (
        "import sys\nfrom defian_edge.runtime.command import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in {'ray', 'pyarrow'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.splitlines()[-1] == "[]"


def node(cpus: float, gpus: float = 0.0, name: str = "n") -> Node:
    return Node(name, name, cpus, gpus)


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "expected"),
    [
        ([node(8)], None, 0, (8, 1, 0)),
        ([node(8)], 2, 0, (2, 4, 0)),
        ([node(8)], 3, 0, (3, 2, 0)),
        ([node(2), node(6)], 2, 0, (2, 3, 0)),
        ([node(2), node(6)], 3, 0, (3, 2, 0)),
        ([node(16, 4), node(16, 4)], None, 1, (8, 1, 1)),
        ([node(16, 4), node(16, 3)], None, 2, (3, 1, 2)),
        ([node(16, 1)], None, 0.5, (2, 1, 0.5)),
        ([node(3, 4)], None, 1, (3, 1, 1)),
    ],
)
def test_a_worker_gets_its_share_of_one_machine(nodes, workers, gpus, expected):
    share = share_of(nodes, Cluster("local", workers, gpus))
    assert (share.workers, share.cpus, share.gpus) == expected


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 20))
def test_all_workers_find_room_with_the_threads_that_they_get(cpus, workers):
    nodes = [node(each) for each in cpus]
    if workers > sum(cpus):
        with pytest.raises(DefianError, match="Expected room for"):
            share_of(nodes, Cluster("local", workers, 0))
        return
    threads = share_of(nodes, Cluster("local", workers, 0)).cpus
    assert sum(each // threads for each in cpus) >= workers > sum(each // (threads + 1) for each in cpus) - 1
    assert sum(each // (threads + 1) for each in cpus) < workers


def test_more_than_there_is_is_refused_with_what_there_is():
    nodes = [node(8, 2, "left"), node(8, 1, "right")]
    with pytest.raises(DefianError) as refused:
        share_of(nodes, Cluster("auto", 4, 1))
    assert str(refused.value) == (
        "Expected room for 4 workers with 1 GPU each, found it for 3 on 2 machines (left: 8 CPUs, 2 GPUs; "
        "right: 8 CPUs, 1 GPU).\n  Take --workers 3, or add machines to the cluster."
    )
    with pytest.raises(DefianError, match=r"1 worker with 4 GPUs each, found it for 0.*\n  Add machines"):
        share_of(nodes, Cluster("auto", None, 4))


GOOD = {"failed": "", "version": "0", "read": True, "unread": "", "missing": [], "engine": "e" * 64}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"failed": "ModuleNotFoundError: defian_edge"},
            r"node7 has no .* that could be imported: ModuleNotFound.*ray",
        ),
        ({"version": "0.0.9"}, r"node7 has defian-edge 0\.0\.9, expected .* as here.*pip install 'defian-edge=="),
        ({"read": False, "unread": "No such file"}, r"node7 does not see what was written.*No such file.*not shared"),
        ({"missing": ["/data/photos"]}, r"node7 does not see /data/photos.*by the same paths"),
        ({"engine": "f" * 64}, r"node7 has another .*g\.onnx: expected eeee.*found one with the SHA-256 ffff"),
    ],
)
def test_a_machine_that_differs_is_named_with_what_cures_it(change, message, monkeypatch, tmp_path):
    monkeypatch.setattr("defian_edge.runtime.cluster.checks.__version__", "0")
    paths = Paths(tmp_path / "g.onnx", tmp_path, [])
    _require(node(1, 0, "node7"), GOOD, paths, "e" * 64)
    with pytest.raises(DefianError) as refused:
        _require(node(1, 0, "node7"), GOOD | change, paths, "e" * 64)
    assert re.search(message, str(refused.value).replace("\n", " ")), str(refused.value)


def test_a_machine_whose_file_does_not_arrive_here_is_refused(monkeypatch, tmp_path):
    """It read ours, and writes into another folder: a copy, or a file system that does not come back."""
    monkeypatch.setattr(checks, "CACHED", 0.3)
    reply = tmp_path / "reply"
    with pytest.raises(DefianError, match=r"node7 wrote a file into .*, and it is not here: the folder is another one"):
        _require_reply(node(1, 0, "node7"), reply, "said", Paths(tmp_path / "g.onnx", tmp_path, []))
    late = threading.Timer(0.1, reply.write_text, ["said"])
    late.start()
    _require_reply(node(1, 0, "node7"), reply, "said", Paths(tmp_path / "g.onnx", tmp_path, []))
    late.join()


def test_a_worker_on_a_machine_that_joined_later_with_another_version_opens_nothing(tmp_path):
    opening = Opening(tmp_path / "nothing.onnx")
    worker = Worker(Work(opening, tmp_path), version="9.9.9")
    outcome = Outcome.of_text(worker.do(Task(3, Job(tmp_path / "a.png", tmp_path / "b.png")).to_text()))
    error = outcome.to_error()
    assert (outcome.number, outcome.ends) == (3, "refused")
    assert re.search(r"has defian-edge .*, expected 9\.9\.9 as here.*==9\.9\.9", str(error), re.DOTALL)


def test_messages_come_out_as_they_went_in():
    job = Job(Path("/in/f\udcfcr.png"), Path("/out/x.png"), series="GIF")
    source = Fingerprint("/in/film", 1, 2, 3, 4, "s")
    parts = (Part(0, 0, 90, 9), Part(1, 90, None, 3))
    for task in (Task(1, job), Task(2, job, parts[1], source=source), Task(3, job, None, parts, source, ("A53_CC",))):
        assert Task.of_text(task.to_text()) == task
    outcome = Outcome(4, [["said", True]], 1, 0, ["failed"], qualities=[[float("inf"), 1.0]])  # type: ignore[list-item]
    outcome.fail(DiskFullError("full", "free some"), ends=True)
    again = Outcome.of_text(outcome.to_text())
    assert again == outcome
    error = again.to_error()
    assert isinstance(error, DiskFullError)
    assert str(error) == "full\n  free some"
