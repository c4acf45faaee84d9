"""A program's connection to Ray, which tells nobody of it: neither usage statistics nor a dashboard."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import DefianError, MissingPackageError
from .options import AUTO, LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_STATISTICS = {"RAY_USAGE_STATS_ENABLED": "0"}
"""Set before Ray is imported, which reads it when it starts a cluster."""
OBJECTS = 128 << 20
"""Bytes of the store of a cluster that is started here; nothing but names and words goes through it."""
PATIENCE = 10.0
"""Seconds in which a head node has to answer."""


def import_ray() -> Any:  # noqa: ANN401 - an optional package
    """The ``ray`` module with ``ray.data``.

    Raises:
        MissingPackageError: Ray or what Ray Data needs is not installed.
    """
    os.environ.update(NO_STATISTICS)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else its libraries write to the terminal
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
    ray = import_ray()
    if address not in {LOCAL, AUTO}:
        _require_answer(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        # Nobody else may give it work. Ray by itself would leave its token in the user's home.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # On loopback; for an address of this machine Ray would ask for the way to a host on the internet.
        how |= {"include_dashboard": False, "object_store_memory": OBJECTS, "_node_ip_address": "127.0.0.1"}
    try:
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
