"""The wheel of this checkout, and environments that hold it and nothing else of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, where no PYTHONPATH leads to the checkout; what it prints is kept."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    parts = [str(part) for part in command]
    return subprocess.run(parts, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


def copy_sources(folder: Path) -> Path:
    """The files of the checkout that git does not ignore, as they are now."""
    listed = run(shutil.which("git"), "ls-files", "-co", "--exclude-standard", cwd=REPOSITORY).stdout.splitlines()
    assert "pyproject.toml" in listed
    for name in listed:
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


def build_wheel(folder: Path) -> Path:
    """Build it in an environment of its own from a copy of the sources."""
    source = copy_sources(folder / "source")
    built = run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, source, cwd=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


def install(folder: Path, *what: object) -> Path:
    """The Python of a new environment with what pip installs as named, and the packages of this one behind it.

    A line in a ``.pth`` file puts those on the path without reading their own ``.pth`` files, so that a checkout
    that is installed there is not seen.
    """
    done = run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    python = folder / "bin" / "python"
    done = run(python, "-m", "pip", "install", "-q", "--no-deps", *what, cwd=folder)
    assert done.returncode == 0, done.stderr
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip())
    (site / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python
