"""All shards of a folder, each a task of a Dask cluster whose workers see /data: python dask-shards.py SCHEDULER:8786

Dask gives what a lost worker left undone to another; the same command does what is left, with any number of shards.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

SHARDS = 64
COMMAND = ("defian-run", "/data/photos", "--engine", "/data/engines/defian-s-x2.fp32.onnx", "--out", "/data/sr")


def do_shard(index: int, count: int, command: tuple[str, ...] = COMMAND) -> tuple[int, str]:
    """Do one of ``count`` shards; its exit status and what it said."""
    shard = ["--shard", f"{index}/{count}"]
    done = subprocess.run([*command, *shard], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode  # ended by a signal: as a shell has it
    return status, done.stdout


def do_all(client: Any, count: int = SHARDS, command: tuple[str, ...] = COMMAND) -> int:  # noqa: ANN401
    """Do all shards; the largest exit status.

    Args:
        client: a ``distributed.Client``; of it only ``submit`` is used, as ``concurrent.futures`` has it.
        count: shards; several for each worker even out what is not equal in work.
        command: what each does.
    """
    shards = [client.submit(do_shard, index, count, command) for index in range(count)]
    status = 0
    for shard in shards:
        ended, said = shard.result()
        print(said, end="")
        status = max(status, ended)
    return status


if __name__ == "__main__":
    from distributed import Client  # pyright: ignore[reportMissingImports]

    raise SystemExit(do_all(Client(sys.argv[1])))
