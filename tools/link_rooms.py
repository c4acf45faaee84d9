"""Links the rooms below ``build/lint/defian_edge``, where pyright and import-linter look for them.

Python finds ``defian_edge.export`` in a checkout by the path that ``defian_edge/__init__.py`` sets when it is imported.
Tools that read code without running it cannot know that path, and need the folders where a wheel has them.

    python -m tools.link_rooms
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINKED = ROOT / "build" / "lint"
ROOMS = ("benchmark", "calibration", "export", "models", "runtime", "selftest")


def main() -> None:
    """Make the folder anew."""
    if LINKED.is_dir():
        shutil.rmtree(LINKED)  # of links only the links
    package = LINKED / "defian_edge"
    package.mkdir(parents=True)
    for source in (ROOT / "tools", ROOT / "pyproject.toml"):
        _link(source, LINKED)
    for source in (*sorted((ROOT / "defian_edge").glob("*.py")), *(ROOT / room for room in ROOMS)):
        _link(source, package)


def _link(source: Path, folder: Path) -> None:
    """A link, or a copy where none may be made, as on Windows without developer mode."""
    target = folder / source.name
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)


if __name__ == "__main__":
    main()
