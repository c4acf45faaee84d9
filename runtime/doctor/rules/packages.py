"""Packages by themselves: there, new enough, and loading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..packages import EXTRAS, extra_of, is_older
from .rule import Rule, Verdict, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..facts import Facts


def always_needed(facts: Facts) -> Iterator[Verdict]:
    """What nothing runs without."""
    for name, least in EXTRAS[""].items():
        if name not in facts.packages:
            yield red(
                "packages", f"{name} is not installed, and nothing runs without it.", f"pip install '{name}>={least}'"
            )


def new_enough(facts: Facts) -> Iterator[Verdict]:
    """Versions that the extras ask for."""
    wanted = {name: least for packages in EXTRAS.values() for name, least in packages.items()}
    for name, least in wanted.items():
        found = facts.packages.get(name)
        if found is None or not is_older(found.version, least) or (name == "tensorrt" and facts.jetson is not None):
            continue
        extra = extra_of(name)
        text = f"Expected {name} {least} or newer{f' (extra {extra})' if extra else ''}, found {found.version}."
        yield red("packages", text, f"pip install --upgrade '{name}>={least}'")


def something_to_run_with(facts: Facts) -> Iterator[Verdict]:
    """A backend: ONNX Runtime for graphs, or TensorRT with pycuda for engines."""
    has = facts.packages.keys()
    runs_graphs = any(name.startswith("onnxruntime") for name in has)
    compilers = [name for name in ("tensorrt", "tensorrt-rtx") if name in has]
    if facts.driver.works and facts.gpus and compilers and "pycuda" not in has:
        text = f"{' and '.join(compilers)} can load engines, but without pycuda nothing runs them."
        yield yellow("packages", text, "pip install 'defian-edge[device]'")
    if not runs_graphs and not compilers:
        text = "Nothing is installed that runs a graph or an engine."
        extra = "gpu" if facts.driver.works and facts.gpus else "cpu"
        yield red("packages", text, f"pip install 'defian-edge[{extra}]'")


PACKAGE_RULES = (
    Rule("always-needed", "pyproject.toml", always_needed),
    Rule("new-enough", "pyproject.toml", new_enough),
    Rule("something-to-run-with", "docs/runtime.md", something_to_run_with),
)
