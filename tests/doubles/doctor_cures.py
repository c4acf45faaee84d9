"""What a cure may begin with: programs that are there, or that the cure is for."""

from __future__ import annotations

import re
import shlex

PROGRAMS = {"apt", "defian", "docker", "export", "pip", "python", "python3", "python3.12", "rm", "sudo", "unset"}
SETTING = re.compile(r"[A-Z_]+=\S*")


def is_a_command(cure: str) -> bool:
    """Whether a shell would take it: a known program, after settings of its environment; prose stands in brackets."""
    command = re.sub(r" \([^)]*\)$", "", cure)
    words = [word for word in shlex.split(command) if not SETTING.fullmatch(word)]
    prose = command.endswith(".") or words[1:2] in (["or"], ["and"], ["is"])
    return len(words) > 1 and words[0] in PROGRAMS and not prose
