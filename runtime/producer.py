"""Who made a file: the version that is written into manifests and graphs, and what to install for a newer one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import __version__
from .errors import DefianError

if TYPE_CHECKING:
    from pathlib import Path

PRODUCER = "defian-edge"
BUILT_BY = f"{PRODUCER} {__version__}"
"""What a manifest that this version writes says of who made the file."""


def other_schema(path: Path, expected: int, found: object, built_by: object) -> DefianError:
    """The error for a manifest of another schema: a newer one says what to install, an older one is built again.

    Args:
        path: of the manifest.
        expected: the schema that this version reads.
        found: what the manifest says, which may be anything.
        built_by: what the manifest says of who made the file, which may be anything; only a plain version is shown.
    """
    said = f"{path}: expected manifest schema {expected}, found {found!r:.80}"
    if isinstance(found, bool) or not isinstance(found, int) or found < expected:
        return DefianError(f"{said}.", "Rebuild it with export.py.")
    version = re.fullmatch(rf"{PRODUCER} (\d[\w.+]{{0,40}})", built_by) if isinstance(built_by, str) else None
    made = f" made by {PRODUCER} {version[1]}" if version else ""
    wanted = f"install '{PRODUCER}>={version[1]}'" if version else f"install --upgrade {PRODUCER}"
    return DefianError(
        f"{said}{made}; this is {BUILT_BY}.",
        f"Install what reads it: pip {wanted}. Where runtime/ was copied alone, copy that version's.",
    )
