"""A device that has ``runtime/`` and a few packages: the folder copied, everything else made impossible to import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

REPOSITORY = Path(__file__).resolve().parents[2]
_SCRIPT = """
import importlib.metadata, os, runpy, sys

allowed = set(os.environ["ALLOWED"].split())
installed = set(importlib.metadata.packages_distributions()) | {"defian_edge", "tests", "tools"}

class Bare:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in installed - allowed - {"runtime"}:
            raise ModuleNotFoundError(f"No module named {top!r} on this device", name=top)

sys.meta_path.insert(0, Bare())
sys.path.insert(0, os.getcwd())
sys.argv[0] = "runtime"
import runtime
assert runtime.__path__[0] == os.path.join(os.getcwd(), "runtime"), runtime.__path__
runpy.run_module("runtime", run_name="__main__", alter_sys=True)
"""


def deploy(folder: Path) -> None:
    """Copy ``runtime/`` into the folder, without what Python left in it."""
    shutil.copytree(REPOSITORY / "runtime", folder / "runtime", ignore=shutil.ignore_patterns("__pycache__"))


def run_alone(
    folder: Path, allowed: Collection[str], arguments: list[object], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``python -m runtime`` in the folder, where only the standard library and the allowed packages can be imported."""
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **(environment or {}), "ALLOWED": " ".join(allowed)},
    )
