"""A real tritonserver on loopback: the binary and the Python backend of the wheel ``nvidia-pytriton``.

It has an environment of its own, which `make env` fills (``.venv-triton``; ``$DEFIAN_TRITON`` names another) and which
has neither torch nor onnx. The server runs in a folder with the rooms of this checkout, which come before what is
installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tools.link_rooms import ROOMS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(os.environ.get("DEFIAN_TRITON", REPOSITORY / ".venv-triton"))
CLIENT = Path(__file__).with_name("triton_client.py")
PROTOCOLS = ("http", "grpc")
START, END, PATIENCE = 120.0, 40.0, 300.0
"""Seconds."""


@dataclass(frozen=True)
class Environment:
    """Where the server's parts are."""

    python: Path
    packages: Path
    version: str
    libraries: Path

    @property
    def server(self) -> Path:
        return self.packages / "pytriton" / "tritonserver"


def environment() -> Environment:
    """The server's environment; skips where there is none, and fails where ``DEFIAN_CI`` says that there has to be."""
    python = ENVIRONMENT / "bin" / "python"
    why = f"no tritonserver in {ENVIRONMENT}: run make env, or pip install 'defian-edge[cpu,triton]' into it"
    if python.is_file():
        asked = (
            "import sysconfig as s; from pathlib import Path; v, p = s.get_python_version(), s.get_path('purelib')\n"
            "library = Path(s.get_config_var('LIBDIR'), s.get_config_var('INSTSONAME'))\n"
            "print(p, v, library.parent, library.is_file() and library.name.startswith('libpython'), sep='\\n')"
        )
        packages, version, libraries, is_shared = run_python(python, "-c", asked).splitlines()
        stub = Path(packages, "pytriton", "tritonserver", "python_backend_stubs", version)
        if stub.is_dir() and is_shared == "True":
            return Environment(python, Path(packages), version, Path(libraries))
        if stub.is_dir():
            why = f"{python} is a Python without libpython{version}.so, which Triton's Python backend loads"
    if "DEFIAN_CI" in os.environ:
        pytest.fail(f"DEFIAN_CI is set, and there is {why}")
    pytest.skip(why)


def run_python(python: Path, *arguments: object) -> str:
    """What a program prints; it sees nothing of this process's own packages."""
    hidden = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=hidden)
    assert done.returncode == 0, done.stderr
    return done.stdout


def parsed(config: Path) -> dict[str, Any]:
    """A ``config.pbtxt`` as tritonclient's protocol buffer reads it."""
    return json.loads(run_python(environment().python, CLIENT, "parse", config))


@dataclass
class Server:
    """A server of one repository; every model is loaded when the ``with`` block begins.

    Attributes:
        repository: its models.
        folder: for its backends, its log and what clients send.
        options: further ones of tritonserver's command line.
    """

    repository: Path
    folder: Path
    options: Sequence[str] = ()
    http: str = ""
    grpc: str = ""
    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self._environment = environment()
        ports = [_free_port() for _ in PROTOCOLS]
        self.http, self.grpc = (f"127.0.0.1:{port}" for port in ports)
        backend = self.folder / "backends" / "python"
        if not backend.exists():
            parts = self._environment.server
            shutil.copytree(parts / "backends" / "python", backend)
            shutil.copy(
                parts / "python_backend_stubs" / self._environment.version / "triton_python_backend_stub", backend
            )
            code = self.folder / "code"
            code.mkdir()
            for room in ("defian_edge", *ROOMS):
                (code / room).symlink_to(REPOSITORY / room)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text(errors="replace")

    def start(self) -> None:
        """Start it on its ports and wait until it is ready.

        Raises:
            AssertionError: it has ended instead; with its log.
        """
        at = self._environment
        command = [
            at.server / "bin" / "tritonserver", f"--model-repository={self.repository}",
            f"--backend-directory={self.folder / 'backends'}", "--http-address=127.0.0.1",
            "--grpc-address=127.0.0.1", f"--http-port={self.http.split(':')[1]}",
            f"--grpc-port={self.grpc.split(':')[1]}", "--allow-metrics=false", "--exit-timeout-secs=10",
            *self.options,
        ]  # fmt: skip
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
            "PATH": f"{at.python.parent}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"{at.libraries}:{at.packages / 'nvidia_pytriton.libs'}",
            "OMP_NUM_THREADS": "1",
        }
        with (self.folder / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=variables, cwd=self.folder / "code", start_new_session=True
            )
        until = time.monotonic() + START
        while not self._is_ready():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < until, self.log
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.http}/v2/health/ready", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """End it and all that it started; again is harmless."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(END)

    def memory(self) -> int:
        """Bytes that the server and its instances have in memory."""
        assert self._process is not None
        group = self._process.pid
        pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
        return sum(_resident(pid) for pid in pids if _group(pid) == group)

    def ask(self, model: str, *pictures: np.ndarray, protocol: str = "http", version: str = "") -> list[Any]:
        """Send batches one after the other: of each what came, or the words of the error."""
        asked = []
        for number, each in enumerate(pictures):
            np.save(self.folder / f"asked-{number}.npy", each)
            address = {"http": self.http, "grpc": self.grpc}[protocol]
            asked.append(
                {"protocol": protocol, "address": address, "model": model, "version": version}
                | {"images": f"asked-{number}.npy"}
            )
        (self.folder / "asked.json").write_text(json.dumps(asked))
        run_python(self._environment.python, CLIENT, "ask", self.folder)
        answers = json.loads((self.folder / "answers.json").read_text())
        return [np.load(self.folder / each["answer"]) if "answer" in each else each["error"] for each in answers]

    def clients(
        self, model: str, pictures: Sequence[tuple[np.ndarray, np.ndarray]], *, each: int, each_after_error: int = 0
    ) -> Clients:
        """Start eight clients, half over HTTP and half over gRPC, that want so many right answers each.

        ``each_after_error`` of them have to come after an error, so that the clients go on until there is one.
        """
        names = []
        for number, (images, expected) in enumerate(pictures):
            names.append((f"load-{number}.npy", f"expected-{number}.npy"))
            np.save(self.folder / names[-1][0], images)
            np.save(self.folder / names[-1][1], expected)
        progress = self.folder / "progress"
        shutil.rmtree(progress, ignore_errors=True)
        progress.mkdir()
        plan = {"http": self.http, "grpc": self.grpc, "model": model, "pictures": names, "clients": 8}
        plan |= {"each": each, "each_after_error": each_after_error, "seconds": PATIENCE, "progress": str(progress)}
        (self.folder / "load.json").write_text(json.dumps(plan))
        command = [str(self._environment.python), str(CLIENT), "load", str(self.folder)]
        return Clients(subprocess.Popen(command), self.folder)


@dataclass
class Clients:
    """Clients under way."""

    process: subprocess.Popen[bytes]
    folder: Path

    def answered(self) -> int:
        """Right answers so far."""
        return sum(int(path.read_text() or 0) for path in (self.folder / "progress").iterdir())

    def wait_for(self, answers: int) -> None:
        """Wait until so many answers have come."""
        while self.answered() < answers:
            assert self.process.poll() is None, "the clients have ended"
            time.sleep(0.02)

    def found(self) -> list[dict[str, Any]]:
        """Of each client the protocol, and how many answers were right, wrong or an error."""
        assert self.process.wait() == 0
        return json.loads((self.folder / "found.json").read_text())


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return -1


def _resident(pid: int) -> int:
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if found is None else 1024 * int(found[1])
