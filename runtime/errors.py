"""The one exception root of the project.

It lives in the lowest room, so that every other room can raise it; the command lines turn it into a
message on standard error and exit status 2.
"""

from __future__ import annotations

import errno

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of an OSError that a full disk, or a full share of it, is."""


class DefianError(Exception):
    """A mistake that the user can mend: bad input, a missing package, a file that does not fit.

    Args:
        message: what was expected and what was found, in one or two sentences.
        hint: what to do next, preferably a command; empty if the message says it all.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class MissingPackageError(DefianError):
    """A package of an optional extra is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed.",
            f"Install it with: pip install 'defian-edge[{extra}]'",
        )
