"""Several machines of a real Ray cluster: one that differs is refused, and one that is lost costs no photo.

The machines are raylets on this one. What lies on another's disk is put there by mounts that its processes alone see.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from defian_edge.runtime.batch import Work
from defian_edge.runtime.cluster import checks
from defian_edge.runtime.cluster.connect import connected
from defian_edge.runtime.cluster.room import nodes_of
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.opening import Opening
from tests.conftest import REPOSITORY
from tests.doubles.ray_cluster import RayCluster, require_mounts, require_ray
from tests.doubles.ray_runs import many, on_ray, slow
from tests.runtime.test_shards import results

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Machines:
    """A cluster of this machine and another with one CPU each.

    Attributes:
        cluster: the cluster.
        other: the second machine.
        elsewhere: a folder that is another one there.
        differs: a graph that is another one there.
    """

    cluster: RayCluster
    other: subprocess.Popen[bytes]
    elsewhere: Path
    differs: Path


@pytest.fixture(scope="module")
def machines(tmp_path_factory, shared_graph) -> Iterator[Machines]:
    require_ray()
    here = tmp_path_factory.mktemp("machines")
    require_mounts(here)
    elsewhere, there, differs, other = (here / name for name in ("out", "there", shared_graph.name, "other.onnx"))
    elsewhere.mkdir()
    there.mkdir()
    differs.write_bytes(shared_graph.read_bytes())
    other.write_bytes(b"another graph")
    for manifest in shared_graph.parent.glob("*.json"):
        (here / manifest.name).write_bytes(manifest.read_bytes())
    with RayCluster(1) as cluster:
        yield Machines(cluster, cluster.add_node(1, {elsewhere: there, differs: other}), elsewhere, differs)


def test_a_machine_with_another_output_folder_or_engine_is_refused(machines, shared_graph, tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "CACHED", 1.0)
    folder, address = many(tmp_path, 1), machines.cluster.address
    with pytest.raises(DefianError, match=r"does not see what was written into .*/out here \(No such file.*not shared"):
        on_ray(Work(Opening(shared_graph), machines.elsewhere), folder, address, 2)
    with pytest.raises(DefianError, match=r"has another .*: expected .*, found one with the SHA-256"):
        on_ray(Work(Opening(machines.differs), tmp_path / "sr"), folder, address, 2)
    assert [*machines.elsewhere.iterdir(), *(tmp_path / "sr").iterdir()] == [], "nothing of the checks is left"


def test_a_machine_that_is_lost_in_the_middle_costs_no_photo(machines, shared_graph, tmp_path):
    work, count, done = slow(shared_graph, tmp_path, seconds=0.3), 12, []

    def lose() -> None:
        until = time.monotonic() + 120
        while len(list(work.out.glob("*.png"))) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        done.append(len(list(work.out.glob("*.png"))))
        machines.cluster.lose(machines.other)

    loser = threading.Thread(target=lose)
    loser.start()
    tally = on_ray(work, many(tmp_path, count), machines.cluster.address, 2)
    loser.join()
    assert [3 <= each < count for each in done] == [True], "it was lost in the middle"
    assert tally.failures == []
    assert tally.done + tally.skipped == count
    assert len(results(work.out)) == count


def test_a_machine_with_another_version_is_refused(machines, shared_graph, tmp_path):
    """In the place of the second machine."""
    old = tmp_path / "__init__.py"
    init = REPOSITORY / "runtime" / "__init__.py"
    old.write_text(f'{init.read_text()}\n__version__ = "0.0.1"\n')
    machines.cluster.lose(machines.other)
    with connected(machines.cluster.address) as ray:
        until = time.monotonic() + 120
        while len(nodes_of(ray)) > 1:
            assert time.monotonic() < until, "the cluster does not find out that a machine is gone"
            time.sleep(0.2)
    machines.cluster.add_node(1, {init: old})
    with pytest.raises(DefianError, match=r"has defian-edge 0\.0\.1, expected .* as here.*\n.*pip install"):
        on_ray(Work(Opening(shared_graph), tmp_path / "sr"), many(tmp_path, 1), machines.cluster.address, 2)
