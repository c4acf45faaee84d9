"""What other programs say."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from select import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 1.5
"""What a program is given: a diagnosis is not held up by one that hangs."""
END_SECONDS = 0.2
"""What one that was killed is given to end: in the driver it may not be able to, as long as the driver hangs."""
SHOWN = 200


@dataclass(frozen=True)
class Said:
    """What a program wrote to standard output, and why there is nothing more: empty if it ended well."""

    output: str
    why: str = ""


def said(program: str, *arguments: str, seconds: float = SECONDS) -> Said:
    """Run a program and keep what it says; one that is not there says nothing."""
    path = shutil.which(program)
    if path is None:
        return Said("", f"there is no program {program}")
    try:
        status, output, errors = finished([path, *arguments], seconds)
    except OSError as error:
        return Said("", f"{program} does not start: {error.strerror}")
    if status is None:
        return Said(_text(output), f"{program} did not answer within {seconds:g} s")
    if status == 0:
        return Said(_text(output))
    words = " ".join((_text(errors) or _text(output)).split())
    return Said(_text(output), words[:SHOWN] or f"{program} ended with status {status}")


def finished(command: Sequence[str], seconds: float) -> tuple[int | None, bytes, bytes]:
    """Run a command: its status, None if it had to be killed, and what it wrote to standard output and error.

    One that does not even end when it is killed, since the driver holds it, is left alone.

    Raises:
        OSError: it does not start.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        return None, error.output or b"", error.stderr or b""
    finally:
        _end(process)
    return process.returncode, output, errors


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing is left of a process that can be killed, whatever ends the waiting for it."""
    with suppress(OSError):
        process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def first_line(program: str, *arguments: str, seconds: float = SECONDS) -> str:
    """The first line that a program which goes on for ever writes; empty without one."""
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        process = subprocess.Popen(
            [path, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
    except OSError:
        return ""
    end, found = time.monotonic() + seconds, b""
    try:
        stream = -1 if process.stdout is None else process.stdout.fileno()
        while b"\n" not in found and (left := end - time.monotonic()) > 0 and select([stream], [], [], left)[0]:
            if not (more := os.read(stream, 4096)):
                break
            found += more
        return _text(found).partition("\n")[0].strip()
    finally:
        _end(process)


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", "replace")
