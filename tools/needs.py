"""What ``make env`` and ``make test`` need that pip does not install: whatever is missing is named, one line each.

    python3 -m tools.needs            # what nothing goes without: a Python with venv and pip; status 2 if it is missing
    python3 -m tools.needs --tests    # programs without which tests skip; status 0

It runs before there is an environment, on whatever Python that is: with the standard library alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from typing import NamedTuple

OLDEST, NEWEST = (3, 10), (3, 13)
"""The Pythons that pyproject.toml promises."""


class Program(NamedTuple):
    """Something that tests use if it is there.

    Attributes:
        names: of the program; any of them will do.
        package: Debian's.
        tests: what is skipped without it.
    """

    names: tuple[str, ...]
    package: str
    tests: str


FOR_TESTS = (
    Program(
        ("g++",), "g++", "the eigenvalue kernel on the CPU, TensorRT's bindings, and the CUDA driver in host memory"
    ),
    Program(
        ("nvcc",), "nvidia-cuda-toolkit, non-free", "what nvcc makes of the kernel, and the CUDA driver in host memory"
    ),
    Program(("chromium", "chromium-browser", "google-chrome"), "chromium", "the benchmark's page in a browser"),
    Program(("xz",), "xz-utils", "what travels to a GPU machine in pieces"),
    Program(("systemd-analyze",), "systemd", "the units of a Jetson that upscales by the clock"),
)


def obstacles(version: tuple[int, int] | None = None) -> list[str]:
    """Why this Python can make no environment, each with what cures it; nothing if it can.

    Args:
        version: of the Python; None for this one.
    """
    major, minor = version or sys.version_info[:2]
    name = f"Python {major}.{minor} ({sys.executable})"
    if not OLDEST <= (major, minor) <= NEWEST:
        promised = " to ".join(".".join(map(str, each)) for each in (OLDEST, NEWEST))
        return [f"Expected Python {promised}, found {name}: make PYTHON=python3.12 {{demo,test}} takes another."]
    absent = [module for module in ("venv", "ensurepip") if importlib.util.find_spec(module) is None]
    if absent:
        return [f"{name} has no {' and no '.join(absent)}: apt-get install python{major}.{minor}-venv"]
    return []


def skipped() -> list[str]:
    """What tests are skipped for want of a program, and the package that has it."""
    return [
        f"{each.names[0]} is not here: {each.tests} will not be tested (apt-get install {each.package})"
        for each in FOR_TESTS
        if not any(shutil.which(name) for name in each.names)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Name what is missing; 2 if there can be no environment."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.needs", description=__doc__)
    parser.add_argument("--tests", action="store_true", help="what only tests need")
    if parser.parse_args(arguments).tests:
        for line in skipped():
            print(line)
        return 0
    found = obstacles()
    for line in found:
        print(f"error: {line}", file=sys.stderr)
    return 2 if found else 0


if __name__ == "__main__":
    sys.exit(main())
