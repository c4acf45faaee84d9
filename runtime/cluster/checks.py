"""What has to be true on every machine before the first photo: one version, one engine, and storage that all see."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import DefianError
from ..temporary import PREFIX, unfinished_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .room import Node

PACKAGE = __name__.rpartition(".")[0].rpartition(".")[0]
"""The name by which workers import what they run: ``defian_edge.runtime``, or ``runtime`` in a checkout."""
PATIENCE = 120.0
"""Seconds for all machines to answer; the first answer of a machine starts a process there."""
CACHED = 10.0
"""Seconds for which a network's file system may not know of a file that another machine has just written."""


def require_alike(ray: Any, nodes: Sequence[Node], paths: Paths, sha256: str) -> None:  # noqa: ANN401 - the module
    """Ask every machine what it has, and hold it against this one.

    Args:
        ray: the module, connected.
        nodes: the machines.
        paths: what they have to see.
        sha256: of the engine, as its manifest says it.

    Raises:
        DefianError: a machine has another version, another engine, or does not see what this one sees; or does not
            answer.
    """
    with unfinished_file(paths.out / f"{PREFIX}shared.txt") as token:
        said = secrets.token_hex(16)
        token.write_text(said)
        asked = {
            "package": PACKAGE, "cwd": paths.folder, "engine": str(paths.engine), "token": str(token), "said": said,
            "seen": [str(path) for path in paths.seen], "seconds": CACHED,
        }  # fmt: skip
        question = ray.remote(num_cpus=0, max_retries=1)(_question())
        answers = []
        for node in nodes:
            place = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.identifier, soft=False)
            answers.append(question.options(scheduling_strategy=place).remote(asked | {"node": node.identifier}))
        try:
            found = ray.get(answers, timeout=PATIENCE)
        except ray.exceptions.RayError as error:
            words = last_line(error)
            raise DefianError(
                f"Not every machine of the cluster has answered within {PATIENCE:.0f} s: {words}",
                "ray status lists its machines.",
            ) from error
        replies = [token.with_name(f"{token.name}.{node.identifier}") for node in nodes]
        try:
            for node, answer, reply in zip(nodes, found, replies, strict=True):
                _require(node, answer, paths, sha256)
                _require_reply(node, reply, said, paths)
        finally:
            for reply in replies:
                reply.unlink(missing_ok=True)


class Paths:
    """What every machine has to see.

    Args:
        engine: the engine or graph.
        out: the output folder.
        seen: what else.
        folder: where relative paths begin; empty if there are none.
    """

    def __init__(self, engine: Path, out: Path, seen: Sequence[Path], folder: str = "") -> None:
        self.engine, self.out, self.seen, self.folder = engine, out, seen, folder


def _require(node: Node, answer: dict[str, Any], paths: Paths, sha256: str) -> None:
    name = node.name
    if answer["failed"]:
        raise DefianError(
            f"{name} has no {PACKAGE} that could be imported: {answer['failed']}.",
            f"There: pip install 'defian-edge[ray]=={__version__}', with the extras that the engine needs.",
        )
    if answer["version"] != __version__:
        raise another_version(name, answer["version"], __version__)
    shared = "All machines have to see the photos, --engine and --out by the same paths, as on a network's file system."
    if not answer["read"]:
        raise DefianError(
            f"{name} does not see what was written into {paths.out} here ({answer['unread']}): it is not shared.",
            shared,
        )
    if answer["missing"]:
        raise DefianError(f"{name} does not see {answer['missing'][0]}.", shared)
    if answer["engine"] != sha256:
        found = f"one with the SHA-256 {answer['engine'][:16]}..." if answer["engine"] else "none"
        raise DefianError(f"{name} has another {paths.engine}: expected {sha256[:16]}..., found {found}.", shared)


def last_line(error: Exception) -> str:
    """What an error of Ray's comes to, after the tracebacks of others."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def another_version(name: str, found: str, expected: str) -> DefianError:
    """What is said of a machine with a version that is not that of the program that asked."""
    return DefianError(
        f"{name} has defian-edge {found}, expected {expected} as here.", f"There: pip install 'defian-edge=={expected}'"
    )


def _require_reply(node: Node, reply: Path, said: str, paths: Paths) -> None:
    """Refuse a machine whose file is not here."""
    until = time.monotonic() + CACHED
    while True:
        with suppress(OSError):
            if reply.read_text() == said:
                return
        if time.monotonic() > until:
            raise DefianError(
                f"{node.name} wrote a file into {paths.out}, and it is not here: the folder is another one there.",
                "All machines have to see one --out folder, by the same path.",
            )
        time.sleep(0.1)


def _question() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What a machine is asked. A function inside another goes there as it is: the machine need not have this file."""

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        import hashlib
        import importlib
        import os
        import time

        if asked["cwd"]:
            os.chdir(asked["cwd"])
        told: dict[str, Any] = {"version": "", "failed": "", "read": False, "unread": "", "missing": [], "engine": ""}
        try:
            told["version"] = importlib.import_module(asked["package"]).__version__
        except Exception as error:  # whatever a foreign installation raises
            told["failed"] = f"{type(error).__name__}: {error}"
            return told
        until = time.monotonic() + asked["seconds"]
        while True:
            try:
                with open(asked["token"]) as stream:  # noqa: PTH123 - the standard library's own words alone
                    said = stream.read()
                told["read"] = said == asked["said"]
                told["unread"] = "another file is there"
                break
            except OSError as error:
                told["unread"] = error.strerror or str(error)
                if time.monotonic() > until:
                    return told
                time.sleep(0.2)
        try:
            with open(f"{asked['token']}.{asked['node']}", "w") as stream:  # noqa: PTH123
                stream.write(asked["said"])
        except OSError as error:
            told |= {"read": False, "unread": f"it cannot write there: {error.strerror}"}
            return told
        told["missing"] = [path for path in asked["seen"] if not os.path.exists(path)]  # noqa: PTH110
        try:
            digest = hashlib.sha256()
            with open(asked["engine"], "rb") as stream:  # noqa: PTH123
                while block := stream.read(1 << 20):
                    digest.update(block)
            told["engine"] = digest.hexdigest()
        except OSError as error:
            told["missing"].append(f"{asked['engine']} ({error.strerror})")
        return told

    return answer
