"""The runtime's tests on every Python that the package promises and this machine has.

Each gets an environment of its own below ``.cache/matrix``, made once and kept for the next time: the packages of
``make env`` but for PyTorch, which a device has not either, and whose wheels pull gigabytes of CUDA libraries. This
Python makes the graph that the tests run. A Python that is not found is said to be missing; it fails nothing, unless
none is found.

    python -m tools.matrix [3.10 3.13 ...]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from defian_edge.runtime.arguments import shown
from defian_edge.runtime.errors import DefianError
from tools.study import parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".cache" / "matrix"
EXTRAS = ("export", "cpu", "report", "test")
LEFT_OUT = frozenset({"torch", "triton", "pyright", "playwright", "ruff", "import-linter"})
"""Large, and nothing of the runtime's tests."""
TESTS = "tests/runtime"
READY = ".ready"
"""Written into an environment once it is whole: one whose making was interrupted is made anew."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests on each; 0 if all that were found passed, 1 if one failed, 2 if none was found."""
    parser = argparse.ArgumentParser(prog="python -m tools.matrix", description=__doc__)
    parser.add_argument(
        "versions", nargs="*", default=promised(), type=version_of, metavar="VERSION", help="default: all promised"
    )
    options = parsed(parser, arguments)
    ended: dict[str, str] = {}
    graph = made_graph()
    for version in options.versions:
        interpreter = find_python(version)
        ended[version] = "not found" if interpreter is None else tested(version, interpreter, graph)
        print(f"Python {version}: {ended[version]}", flush=True)
    if set(ended.values()) == {"not found"}:
        print("error: none of these Pythons is on the PATH or below ~/.pyenv", file=sys.stderr)
        return 2
    return 1 if any(words.startswith("failed") for words in ended.values()) else 0


def version_of(text: str) -> str:
    """A version of Python such as ``3.10``.

    Raises:
        DefianError: it is none.
    """
    if not re.fullmatch(r"3\.[0-9]{1,2}", text):
        raise DefianError(f"VERSION {shown(text)}: expected a version of Python such as 3.10.")
    return text


def made_graph() -> Path:
    """The graph of a tiny network, made by this Python, which has PyTorch."""
    graph = ENVIRONMENTS / "tiny.onnx"
    graph.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "tests.doubles.tiny_graph", graph], cwd=ROOT, check=True)
    return graph


def promised() -> list[str]:
    """The versions that pyproject.toml names, such as ``3.10``."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"Programming Language :: Python :: (\d+\.\d+)"', text)


def find_python(version: str) -> Path | None:
    """An interpreter of this version: pyenv's newest, or one of the PATH that starts, which a shim need not do."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    of_pyenv = sorted(versions.glob(f"{version}.*/bin/python"), key=_patch)
    of_path = shutil.which(f"python{version}")
    for candidate in (*reversed(of_pyenv), *([] if of_path is None else [Path(of_path)])):
        asked = "import sys; print('%d.%d' % sys.version_info[:2])"
        said = subprocess.run([candidate, "-c", asked], capture_output=True, text=True, check=False)
        if said.stdout.strip() == version:
            return candidate
    return None


def _patch(interpreter: Path) -> int:
    last = interpreter.parent.parent.name.split(".")[-1]
    return int(last) if last.isdigit() else -1


def packages() -> list[str]:
    """What the tests need beside the package, as pip is told."""
    named = [Requirement(text) for text in requires("defian-edge") or []]
    wanted = [
        each for each in named if each.marker is not None and any(each.marker.evaluate({"extra": e}) for e in EXTRAS)
    ]
    return sorted({f"{each.name}{extras_of(each)}{each.specifier}" for each in wanted if each.name not in LEFT_OUT})


def extras_of(requirement: Requirement) -> str:
    """Its extras as pip is told, such as ``[data]``; empty for none."""
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""


def tested(version: str, interpreter: Path, graph: Path) -> str:
    """Make the environment if need be and run the tests in it: pytest's last line, behind ``failed: `` if it failed."""
    folder = ENVIRONMENTS / version
    python = folder / "bin" / "python"
    if not (folder / READY).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        pip = [python, "-m", "pip", "install", "-q"]
        for command in ([interpreter, "-m", "venv", folder], [*pip, *packages(), "-e", str(ROOT)]):
            done = subprocess.run(command, cwd=ROOT, check=False)
            if done.returncode:
                return f"failed: {' '.join(map(str, command))}"
        (folder / READY).touch()
    command = [python, "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", TESTS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DEFIAN_GRAPH": str(graph)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.strip().splitlines() or ["no output"]
    if done.returncode:
        print(done.stdout, flush=True)
    return f"{'failed: ' if done.returncode else ''}{lines[-1]}"


if __name__ == "__main__":
    sys.exit(main())
