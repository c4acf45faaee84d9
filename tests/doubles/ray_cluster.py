"""A real Ray cluster on loopback for tests: a head node of its own, of which nothing is left at the end."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from defian_edge.runtime.cluster.connect import NO_METADATA, NO_STATISTICS
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from types import TracebackType

GRACE, END = 3.0, 20.0
"""Seconds that its head node has to end by itself, and in which all processes have to be gone."""


def require_ray() -> None:
    """Skip where Ray is not installed; where ``DEFIAN_CI`` is set that fails."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: run make env, or pip install 'defian-edge[ray]'")


class RayCluster:
    """A head node whose processes are a group of their own; used in a ``with`` block.

    Args:
        cpus: that it gives out, whatever the machine has.
    """

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        self.address = ""

    def __enter__(self) -> RayCluster:
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short, since sockets lie below it
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1",
            f"--port={port}", f"--num-cpus={self._cpus}", "--include-dashboard=false", "--disable-usage-stats",
            f"--temp-dir={self._folder}", f"--object-store-memory={80 << 20}",
        ]  # fmt: skip
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # for those who join, too
        variables = os.environ | NO_STATISTICS | NO_METADATA | {"PYTHONPATH": str(REPOSITORY)}
        with (self._folder / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=variables, start_new_session=True)
        until = time.monotonic() + 120
        while not self._answers(port):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < until, self.log
            time.sleep(0.1)
        return self

    @property
    def log(self) -> str:
        return (self._folder / "log.txt").read_text(errors="replace")

    @staticmethod
    def _answers(port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; whatever is left of it is an error.

        Raises:
            AssertionError: a process outlived the cluster.
        """
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        with suppress(ProcessLookupError):  # what waits for others, among its own group
            os.killpg(self._process.pid, signal.SIGKILL)
        until = time.monotonic() + END
        while (left := processes_of(self._folder)) and time.monotonic() < until:
            time.sleep(0.2)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        assert left == [], f"processes of Ray outlived it: {left}"


def processes_of(folder: Path) -> list[int]:
    """Processes that were started with a folder in their command line or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if os.fsencode(folder) in said and state != "Z":
            found.append(int(entry.name))
    return found
