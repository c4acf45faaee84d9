"""A cure is a command that can be copied; what else there is to say of it stands behind it in brackets."""

from __future__ import annotations

import re

PROGRAMS = ("python", "pip", "sudo", "docker", "rm", "nvidia-smi", "defian")
"""What a command begins with in the hints of errors."""
_COMMAND = re.compile(rf"(?:^|: )((?:{'|'.join(PROGRAMS)})(?:3|-export|-run)? \S.*)$", re.DOTALL)


def command_first(hint: str, fallback: str) -> str:
    """The command in the hint of an error, and its prose behind it; the fallback where the hint has no command.

    Such as ``python export.py ... (rebuild it on this GPU)`` of ``Rebuild it on this GPU: python export.py ...``.
    """
    hint = hint.strip().removesuffix(".")
    found = _COMMAND.search(hint)
    command, prose = (found[1], hint[: found.start()]) if found else (fallback, hint)
    return f"{command} ({prose[0].lower()}{prose[1:]})" if prose else command
