"""A program's connection to Ray, which tells nobody of it: neither usage statistics nor a dashboard."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import DefianError, MissingPackageError
from .options import AUTO, LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterator

NOWHERE = "http://127.0.0.1:9"
"""Where nobody listens."""
NO_STATISTICS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_USAGE_STATS_REPORT_URL": NOWHERE}
"""Set before Ray is imported, which reads it when it starts a cluster. A cluster that is told to report nothing reports
that, but for one of ``ray.init``."""
NO_METADATA = {"http_proxy": NOWHERE, "https_proxy": NOWHERE, "no_proxy": "127.0.0.1,localhost,::1"}
"""Of a cluster's processes: when it starts, Ray asks three clouds over HTTP whether it is theirs, so that it could
report it. Nothing else of a cluster on loopback goes over HTTP to another machine."""
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""What Ray takes by itself on Windows and macOS: a cluster of one machine, on 127.0.0.1. Elsewhere it would look for an
address of the machine, by asking the system for the way to a host on the internet."""
NO_MESSAGES = {"RAY_DEDUP_LOGS": "1", "RAY_DEDUP_LOGS_SKIP_REGEX": "^"}
"""Read when Ray is imported. What its daemons say of a lost worker, 20 coloured lines each time, would reach standard
output though the program asks for no logs; the expression for lines that are left out fits all."""
OBJECTS = 128 << 20
"""Bytes of the store of a cluster that is started here; nothing but names and words goes through it."""
PATIENCE = 10.0
"""Seconds in which a head node has to answer."""


def import_ray(address: str) -> Any:  # noqa: ANN401 - an optional package
    """The ``ray`` module with ``ray.data``; it reads its variables when it is imported.

    Args:
        address: the cluster that will be used.

    Raises:
        MissingPackageError: Ray or what Ray Data needs is not installed.
    """
    os.environ.update(NO_STATISTICS | NO_MESSAGES)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else its libraries write to the terminal
    if address == LOCAL:
        os.environ.update(ON_LOOPBACK)
        # Nobody else may give it work. Ray by itself would leave its token in the user's home; it reads this one once.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its own use of its own names
            import ray
            import ray.data
    except ImportError as error:
        raise MissingPackageError("ray[data]", "ray", "--ray") from error
    return ray


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The ``ray`` module, connected to a cluster; one that is started here ends with the ``with`` block.

    Args:
        address: as ``--ray`` takes it.

    Raises:
        DefianError: Ray is not installed, no cluster answers, or it is of another version of Ray or Python.
    """
    ray = import_ray(address)
    if address not in {LOCAL, AUTO}:
        _require_answer(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        how |= {"include_dashboard": False, "object_store_memory": OBJECTS}
    try:
        with _variables(NO_METADATA if address == LOCAL else {}), _no_standard_error():
            ray.init(address, **how)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DefianError(
            f"--ray {address}: {said}",
            "Start Ray on this machine: ray start --head, or with --address=HOST:PORT. A cluster with a token "
            "takes RAY_AUTH_MODE=token.",
        ) from error
    finally:
        for number, handler in handlers.items():  # Ray puts its own in their place
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _variables(those: dict[str, str]) -> Iterator[None]:
    """Variables of the environment for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in those}
    os.environ.update(those)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """What Ray's libraries say of themselves goes nowhere; what is wrong comes as an error."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _require_answer(address: str) -> None:
    """Ray itself waits for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except OSError as error:
        raise DefianError(
            f"--ray {address}: nobody answers there ({error.strerror or error}).",
            "Is its head node up? ray start --head prints the address.",
        ) from error
