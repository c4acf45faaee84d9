"""A real Ray cluster on loopback for tests: a head node and others, of which nothing is left at the end."""

from __future__ import annotations

import os
import secrets
import shlex
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

from defian_edge.runtime.cluster.connect import NO_METADATA, NO_STATISTICS, ON_LOOPBACK, connected
from defian_edge.runtime.cluster.room import nodes_of
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

CPUS = 4
"""That the cluster of most tests gives out."""
GRACE, END = 3.0, 20.0
"""Seconds that its head node has to end by itself, and in which all processes have to be gone."""
UP = 120.0
"""Seconds in which a machine has to be up."""


def require_ray() -> None:
    """Skip where Ray is not installed; ``tests/runtime/conftest.py`` makes a failure of it in the gate."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: run make env, or pip install 'defian-edge[ray]'")


RAY = f"{shlex.quote(sys.executable)} -m ray.scripts.scripts"
HEAD = f"{RAY} start --head --port=6379 --include-dashboard=false --disable-usage-stats"
OTHER = f"{RAY} start --address=$RAY_HEAD_IP:6379"


class RayCluster:
    """A head node whose processes are a group of their own; used in a ``with`` block.

    Args:
        cpus: that it gives out, whatever the machine has.
        head: the command that starts it; a free port takes the place of 6379.
    """

    def __init__(self, cpus: int, head: str = HEAD) -> None:
        self._cpus, self._head = cpus, head
        self._others: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def __enter__(self) -> RayCluster:
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short, since sockets lie below it
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            self._port = listening.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        os.environ["RAY_AUTH_MODE"] = "token"  # for those who join, too; a process reads its token once
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        self._process = self._start(self._head, f"--num-cpus={self._cpus}", f"--temp-dir={self._folder}")
        try:
            self._wait(self._answers, self._process)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self, command: str, *options: str, mounts: Mapping[Path, Path] | None = None) -> subprocess.Popen[bytes]:
        """Have a shell start a command that may begin with variables."""
        ports = ("--min-worker-port=0", "--max-worker-port=0")  # the system's choice: others are on this machine
        options = ("--block", *ports, "--node-ip-address=127.0.0.1", f"--object-store-memory={80 << 20}", *options)
        command = f"exec env {command.replace('6379', str(self._port))} {shlex.join(options)}"
        shell = ["sh", "-c", command]
        if mounts:
            there = "".join(
                f"mount --bind {shlex.quote(str(new))} {shlex.quote(str(old))} && " for old, new in mounts.items()
            )
            shell = ["unshare", "--mount", "sh", "-c", f"{there}{command}"]
        kept = {name: value for name, value in os.environ.items() if name not in ON_LOOPBACK}  # of --ray local, before
        variables = kept | NO_STATISTICS | NO_METADATA
        variables |= {"PYTHONPATH": str(REPOSITORY), "RAY_HEAD_IP": "127.0.0.1"}
        with (self._folder / "log.txt").open("ab") as log:
            return subprocess.Popen(shell, stdout=log, stderr=log, env=variables, start_new_session=True)

    def _wait(self, is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + UP
        while not is_so():
            assert process.poll() is None, self.log
            assert time.monotonic() < until, self.log
            time.sleep(0.1)

    def add_node(
        self, cpus: int, mounts: Mapping[Path, Path] | None = None, command: str = OTHER
    ) -> subprocess.Popen[bytes]:
        """Another machine, as far as its files are concerned; its processes are a group.

        Args:
            cpus: that it gives out.
            mounts: what lies there in the place of a file or folder.
            command: that starts it.
        """
        with connected(self.address) as ray:
            before = len(nodes_of(ray))
            node = self._start(command, f"--num-cpus={cpus}", mounts=mounts)
            self._others.append(node)
            self._wait(lambda: len(nodes_of(ray)) > before, node)
        return node

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """End a machine at once, as where the current fails, unless it is lost; the cluster finds out by itself."""
        if node not in self._others:
            return  # it is lost already
        self._others.remove(node)
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    @property
    def log(self) -> str:
        return (self._folder / "log.txt").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
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
        for node in list(self._others):
            self.lose(node)
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


def require_mounts(folder: Path) -> None:
    """Skip where this user may not put one folder in the place of another for a process alone."""
    tried = ["unshare", "--mount", "mount", "--bind", str(folder), str(folder)]
    try:
        done = subprocess.run(tried, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"another machine's files need unshare, of util-linux: {error.strerror}")
    if done.returncode:
        pytest.skip(f"another machine's files need the right to mount (root): {done.stderr.strip()}")


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
