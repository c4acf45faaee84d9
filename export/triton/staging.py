"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from defian_edge.runtime.temporary import PREFIX, held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def unfinished_folder(repository: Path) -> Iterator[Path]:
    """An empty folder to be filled and renamed into a repository; gone at the end if it was not.

    It lies beside the repository, where a server that watches the repository does not take it for a model; inside
    where the repository is a file system of its own, or the folder above may not be written. What dead runs have left
    is removed first.

    Raises:
        OSError: it cannot be made.
    """
    above = repository.resolve().parent
    is_apart = above.stat().st_dev == repository.stat().st_dev and os.access(above, os.W_OK | os.X_OK)
    place = above if is_apart else repository
    _remove_dead(place)
    folder = place / f"{PREFIX}triton-{secrets.token_hex(6)}"
    folder.mkdir()
    with ExitStack() as stack:
        with suppress(OSError):  # without locks nothing of dead runs is removed either
            stack.enter_context(held(folder, os.O_RDONLY))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def write_file(path: Path, content: bytes) -> None:
    """Write a file whose bytes are on the disk when this returns.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _remove_dead(place: Path) -> None:
    with suppress(OSError):
        for folder in place.glob(f"{PREFIX}triton-*"):
            with suppress(OSError), held(folder, os.O_RDONLY):
                shutil.rmtree(folder, ignore_errors=True)
