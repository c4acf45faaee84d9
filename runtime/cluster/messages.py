"""What goes between the program and its workers: what to do, and what became of it, as JSON.

JSON keeps names that are no text (``os.fsdecode`` makes lone surrogates of their bytes), which Arrow's strings refuse.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DefianError
from ..files import DiskFullError
from ..jobs import Job
from ..resume import Fingerprint
from ..video_parts import Part

if TYPE_CHECKING:
    from typing import TextIO


@dataclass(frozen=True)
class Task:
    """What a worker does at once: a file, a part of a film, or joining a film's parts.

    Attributes:
        number: by which its outcome is known.
        job: the file.
        part: the part; None for the whole file.
        parts: all parts that are to be joined; empty for none.
        source: the film as it was when it was cut; None for what is done whole.
        side_data: what the frames of the parts say beside their pixels.
    """

    number: int
    job: Job
    part: Part | None = None
    parts: tuple[Part, ...] = ()
    source: Fingerprint | None = None
    side_data: tuple[str, ...] = ()

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def of_text(cls, text: str) -> Task:
        """What ``to_text`` wrote."""
        said: dict[str, Any] = json.loads(text)
        job = said["job"]
        job |= {"source": Path(job["source"]), "target": Path(job["target"])}
        return cls(
            said["number"],
            Job(**job),
            Part(**said["part"]) if said["part"] else None,
            tuple(Part(**part) for part in said["parts"]),
            Fingerprint(**said["source"]) if said["source"] else None,
            tuple(said["side_data"]),
        )


@dataclass
class Outcome:
    """What became of a task.

    Attributes:
        number: of the task.
        said: lines for standard output, and for standard error where the second is true.
        done, skipped: 1 if a file was done, or finished already; a part of one counts for nothing.
        failures: what the summary says.
        error: message and hint of what failed; empty if nothing did.
        ends: not empty if the error ends the run: ``refused``, the session cannot be opened; ``full``, the disk is.
        fault: a traceback, of a fault in the program.
        uncut: whether the film cannot be done in parts.
        side_data: what the frames of a part say beside their pixels.
        qualities: PSNR in dB and SSIM.
        frames, suspicious: what the frame guard saw.
        session: what describes the session that did it.
    """

    number: int
    said: list[tuple[str, bool]] = field(default_factory=list)
    done: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    error: list[str] = field(default_factory=list)
    ends: str = ""
    fault: str = ""
    uncut: bool = False
    side_data: list[str] = field(default_factory=list)
    qualities: list[tuple[float, float]] = field(default_factory=list)
    frames: int = 0
    suspicious: int = 0
    session: str = ""

    def say(self, text: str, stream: TextIO | None = None) -> None:
        """Keep a line for the program that asked."""
        self.said.append((text, stream is sys.stderr))

    def fail(self, error: DefianError, *, ends: bool = False) -> None:
        """Keep an error."""
        self.error = [error.message, error.hint]
        self.ends = ("full" if isinstance(error, DiskFullError) else "refused") if ends else ""

    def to_error(self) -> DefianError | None:
        """The error as it was raised."""
        if not self.error:
            return None
        return (DiskFullError if self.ends == "full" else DefianError)(*self.error)

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str) -> Outcome:
        """What ``to_text`` wrote."""
        return cls(**json.loads(text))
