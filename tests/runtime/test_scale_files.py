"""The files of examples/scale are what the services read, and their commands do a folder in three shares."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from defian_edge import __version__
from defian_edge.runtime.cluster.connect import NO_STATISTICS
from tests.conftest import REPOSITORY, noise
from tests.doubles.graph_file import write_file
from tests.runtime.test_shards import results

SCALE = REPOSITORY / "examples" / "scale"
COUNT = 3
PHOTOS = 7


@pytest.fixture
def data(tmp_path, tiny_graph) -> Path:
    """What the files call /data, and a ``defian-run`` on the path."""
    folder = tmp_path / "data"
    (folder / "photos").mkdir(parents=True)
    for number in range(PHOTOS):
        Image.fromarray(noise(6, 7, 3, seed=number)).save(folder / "photos" / f"{number}.png")
    (folder / "engines").mkdir()
    write_file(folder / "engines" / "defian-s-x2.fp32.onnx", tiny_graph)
    command = tmp_path / "bin" / "defian-run"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m defian_edge run "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return folder


def variables(data: Path) -> dict[str, str]:
    """What finds ``defian-run``, and lets it run this checkout."""
    path = f"{data.parent / 'bin'}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def run(command: list[str], data: Path, **given: str) -> None:
    environment = os.environ | variables(data) | given
    done = subprocess.run(command, env=environment, cwd=data.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(rf"shard \d/{COUNT}: \d+ of {PHOTOS} files", done.stdout)


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((SCALE / name).read_text(encoding="utf-8"))


def test_the_pods_of_the_kubernetes_job_do_the_folder_together(data):
    job = read("kubernetes-job.yaml")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never", "what podFailurePolicy demands"
    [container] = pod["containers"]
    assert container["image"].endswith(f":{__version__}")
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    shard = f"$(JOB_COMPLETION_INDEX)/{spec['completions']}"
    assert container["args"][-2:] == ["--shard", shard]
    arguments = [each.replace("/data", str(data)) for each in container["args"][:-1]]
    for index in range(COUNT):
        expanded = shard.replace("$(JOB_COMPLETION_INDEX)", str(index)).replace(str(spec["completions"]), str(COUNT))
        run([*container["command"], *arguments, expanded], data)
    assert len(results(data / "sr")) == PHOTOS


def test_the_tasks_of_the_slurm_array_do_the_folder_together(data):
    script = SCALE / "slurm-array.sh"
    first, last = map(int, re.findall(r"^#SBATCH --array=(\d+)-(\d+)$", script.read_text(), re.MULTILINE)[0])
    assert (first, last) == (0, 15), "Slurm counts a task's number from the first; shares are counted from 0"
    given = {"PHOTOS": str(data / "photos"), "OUT": str(data / "sr")}
    given |= {"ENGINE": str(data / "engines" / "defian-s-x2.fp32.onnx"), "SLURM_ARRAY_TASK_COUNT": str(COUNT)}
    for index in range(COUNT):
        run(["bash", str(script)], data, SLURM_ARRAY_TASK_ID=str(index), **given)
    assert len(results(data / "sr")) == PHOTOS


def test_the_tasks_of_the_dask_file_do_the_folder_together(data, monkeypatch, capsys):
    """Dask's client is a concurrent.futures executor here; with Dask itself docs/scale.md says how it was tried."""
    spec = importlib.util.spec_from_file_location("dask_shards", SCALE / "dask-shards.py")
    assert spec is not None
    assert spec.loader is not None
    dask_shards = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dask_shards)
    for name, value in variables(data).items():
        monkeypatch.setenv(name, value)
    command = tuple(each.replace("/data", str(data)) for each in dask_shards.COMMAND)
    with ThreadPoolExecutor(2) as client:
        assert dask_shards.do_all(client, COUNT, command) == 0
        said = capsys.readouterr().out
        assert re.findall(r"^shard (\d/3): \d of 7 files", said, re.MULTILINE) == ["0/3", "1/3", "2/3"]
        assert len(results(data / "sr")) == PHOTOS
        (data / "photos" / "bad.png").write_bytes(b"no picture")
        assert dask_shards.do_all(client, COUNT, command) == 1
        assert dask_shards.do_all(client, 1, ("sh", "-c", "kill -9 $$")) == 128 + 9, "as where memory is short"
    assert "bad.png" in capsys.readouterr().out


def test_the_ray_cluster_file_fits_rays_schema_and_tells_nobody():
    found = find_spec("ray")  # not imported: it reads then whether clusters have tokens
    if found is None:
        pytest.skip("ray is not installed")
    assert found.origin is not None
    import jsonschema

    cluster = read("ray-cluster.yaml")
    schema = json.loads((Path(found.origin).parent / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(cluster, schema)
    assert any(f"=={__version__}" in command for command in cluster["setup_commands"])
    commands = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    silent = "".join(f"{name}={value} " for name, value in NO_STATISTICS.items())
    assert all(command.startswith(silent) for command in starts)
    assert len(cluster["provider"]["worker_ips"]) == cluster["max_workers"]


THREE_MACHINES = """
import json, os, subprocess, sys
from tests.doubles.ray_cluster import RayCluster
head, worker, command = json.loads(sys.argv[1])
with RayCluster(1, head) as running:
    for _ in range(2):
        running.add_node(1, command=worker)
    done = subprocess.run(["/bin/sh", "-c", command], env=os.environ | {"RAY_ADDRESS": running.address}, check=False)
sys.exit(done.returncode)
"""
"""In a process of its own: Ray keeps the address and the token of the first cluster that a process has seen."""


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_the_machines_of_the_ray_cluster_file_do_the_folder_together(data):
    """Its commands start three of them here, without what needs ssh or would end other clusters here."""
    from tests.doubles.ray_cluster import RAY

    cluster = read("ray-cluster.yaml")
    [head], [worker] = (
        [each.replace("defian/bin/ray", RAY) for each in cluster[f"{kind}_start_ray_commands"] if "ray start" in each]
        for kind in ("head", "worker")
    )
    head, without = re.subn(r" --autoscaling-config=\S+", "", head)
    assert without == 1
    [text] = re.findall(r"ray exec ray-cluster\.yaml '(.*)'$", (SCALE / "ray-cluster.yaml").read_text(), re.MULTILINE)
    command = text.replace("defian/bin/", "").replace("ENGINE", "defian-s-x2.fp32.onnx").replace("/data", str(data))
    given = json.dumps([head, worker, command])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", THREE_MACHINES, given],
        env=environment | variables(data),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 workers with 1 thread each on 3 machines\n")
    assert len(results(data / "sr")) == PHOTOS


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_ray_knows_every_option_of_the_cluster_file():
    shown = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--help"], capture_output=True, text=True, check=True
    ).stdout
    cluster = read("ray-cluster.yaml")
    commands = " ".join([*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]])
    options = set(re.findall(r"--[a-z-]+", commands))
    assert len(options) >= 4
    assert {option for option in options if option not in shown} == set()
