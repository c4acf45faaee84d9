"""The simulation of many workers runs, and counts what lies between two photos of a worker."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.doubles.graph_file import write_file
from tests.doubles.ray_cluster import require_ray
from tools.scale import idle_share


def test_what_lies_between_two_photos_of_a_worker_is_idle(tmp_path):
    (tmp_path / "1").write_text("10 11\n11.5 12.5\n13 14\n")
    (tmp_path / "2").write_text("20 24\n24 26\n")
    assert idle_share(tmp_path) == pytest.approx(1 / (4 + 6))


def test_two_workers_wait_for_a_part_of_their_time(tmp_path, tiny_graph):
    require_ray()
    graph = write_file(tmp_path / "tiny.onnx", tiny_graph)
    command = [sys.executable, "-m", "tools.scale", "waiting", str(graph), "--workers", "2", "--seconds", "0.1"]
    done = subprocess.run([*command, "--photos-each", "3"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    heading, _, row = done.stdout.splitlines()
    assert heading == "| s a photo | 2 workers | load |"
    found = re.fullmatch(r"\| 0\.1 \| ([0-9.]+)% \| [0-9.]+ \|", row)
    assert found is not None, row
    assert 0 < float(found[1]) < 100
