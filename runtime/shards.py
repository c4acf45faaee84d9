"""A share of a list of files that several machines divide among themselves without talking to each other."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .arguments import shown
from .errors import DefianError
from .images import SUFFIXES
from .media import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

MOST = 1_000_000
"""Shards that a list may be divided into."""
_MEDIA = SUFFIXES | VIDEO_SUFFIXES


@dataclass(frozen=True)
class Shard:
    """One of ``count`` shares, counted from 0 as Kubernetes' indexed jobs and most Slurm arrays count.

    A file's share follows from its result's path below the output folder alone: the SHA-256 of that path without the
    suffixes of pictures and videos, modulo ``count``. So every machine finds the same shares whatever it has mounted
    where, and files whose results could get one name (``cat.jpg``, ``cat.png``) are in one share, which sees both.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str | Shard) -> Shard:
        """The shard that ``i/n`` names.

        Raises:
            DefianError: it is not of that form, or there is no such shard.
        """
        if isinstance(text, Shard):
            return text
        found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", text)
        if found is None:
            raise DefianError(
                f"--shard {shown(text)}: expected i/n, such as 0/4.", "Slurm: --shard $SLURM_ARRAY_TASK_ID/4"
            )
        index, count = map(int, found.groups())
        if not 1 <= count <= MOST or index >= count:
            raise DefianError(
                f"--shard {text}: expected a number from 0 to {max(count, 1) - 1} of 1 to {MOST} shards.",
                "Shards are counted from 0: the first of four is 0/4 and the last is 3/4.",
            )
        return cls(index, count)

    def owns(self, result: Path) -> bool:
        """Whether the file with this result is in the share.

        Args:
            result: its path below the output folder.
        """
        while result.suffix.lower() in _MEDIA:
            result = result.with_suffix("")
        digest = hashlib.sha256(os.fsencode(result.as_posix())).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
