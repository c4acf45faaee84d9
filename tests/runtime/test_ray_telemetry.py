"""A cluster that is started here talks to nobody else: neither the program, nor a daemon, nor a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.conftest import REPOSITORY
from tests.doubles.ray_cluster import require_ray
from tests.runtime.test_telemetry import spy  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys, time
from defian_edge.runtime.cluster import connect
{change}
with connect.connected("local") as ray:
    print(ray.get(ray.remote(lambda: __import__("os").environ["LOOKUPS_FILE"]).remote()))
    time.sleep(8)
"""
HERE = ("localhost", "127.0.0.1", "::ffff:127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - nothing is bound


def start(change: str, library: Path, home: Path) -> subprocess.Popen[str]:
    """A program with a cluster, with nothing in its environment that may silence Ray."""
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
    environment |= {"LD_PRELOAD": str(library), "LOOKUPS_FILE": str(home / "looked-up")}
    command = [sys.executable, "-c", PROGRAM.format(change=change)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def strangers(home: Path) -> set[str]:
    """Whom the processes of a cluster have looked up or connected to, but for this machine."""
    said = {line.split()[-1] for line in (home / "looked-up").read_text().splitlines()}
    assert "127.0.0.1" in said, "its processes were not watched"
    return said - set(HERE)


def test_nobody_is_called_and_without_what_silences_it_somebody_would_be(tmp_path, spy):  # noqa: F811
    require_ray()
    homes = {change: tmp_path / f"home{len(change)}" for change in ("", "connect.NO_METADATA.clear()")}
    running = {change: start(change, spy, home) for change, home in homes.items()}
    for change, process in running.items():
        said, wrong = process.communicate(timeout=300)
        assert process.returncode == 0, wrong
        assert said.strip() == str(homes[change] / "looked-up"), "a worker is watched as well"
        assert wrong == "", "nothing of Ray's own is shown"
    silent, other = (strangers(home) for home in homes.values())
    assert silent == set()
    assert "metadata.google.internal" in other, "Ray asks no cloud any more: the variables may be unneeded"
    assert [path.name for path in homes[""].iterdir()] == ["looked-up"], "neither a token nor an identifier is left"
