"""What other programs say."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from threading import Timer

SECONDS = 2.0
"""What a program is given: a diagnosis is not held up by one that hangs."""
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
        done = subprocess.run(
            [path, *arguments], capture_output=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        return Said(_text(error.stdout), f"{program} did not answer within {seconds:g} s")
    except OSError as error:
        return Said("", f"{program} does not start: {error.strerror}")
    output = _text(done.stdout)
    if done.returncode == 0:
        return Said(output)
    words = " ".join((_text(done.stderr) or output).split())
    return Said(output, words[:SHOWN] or f"{program} ended with status {done.returncode}")


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
    timer = Timer(seconds, process.kill)
    timer.start()
    try:
        return _text(process.stdout.readline()).strip() if process.stdout is not None else ""
    finally:
        timer.cancel()
        with suppress(OSError):
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", "replace")
