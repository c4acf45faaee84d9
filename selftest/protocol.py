"""What a stage is told and what it tells: settings, a record that is written as it grows, and why it cannot run."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from defian_edge.runtime.json_values import json_ready

if TYPE_CHECKING:
    from pathlib import Path


_OUT_OF_MEMORY = re.compile(
    r"out.?of.?memory|MemoryError|free GPU memory|no memory left|failed to allocate|alloc_failed|not enough memory|"
    r"too little free memory|could not be allocated",
    re.IGNORECASE,
)


def out_of_memory(said: str) -> bool:
    """Whether the words of PyTorch, ONNX Runtime, TensorRT, CUDA's libraries or this project mean too little memory."""
    return _OUT_OF_MEMORY.search(said) is not None


class CannotRun(Exception):  # noqa: N818 - no error: the stage lacks something
    """The stage lacks something; the text says what."""


@dataclass(frozen=True)
class Settings:
    """What every stage is told.

    Attributes:
        folder: for its files; the stages of a run share it.
        set5: Set5 with ``HR``, ``LRx2`` and ``LRx4``; empty for the photos that scikit-image ships.
        train_pictures: photos for the stage ``training``; empty for none.
        graphs: graphs that were exported before, ``<model>.*.onnx`` with their manifests; empty: export them here.
        commit: of a copy of the repository that has no ``.git``; empty if it has one.
        seconds: until the stage is ended.
    """

    folder: str
    set5: str = ""
    train_pictures: str = ""
    graphs: str = ""
    commit: str = ""
    seconds: float = 60.0


@dataclass
class Record:
    """What a stage has found so far; written after every addition, so that nothing is lost if it is ended."""

    path: Path
    figures: dict[str, Any] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reason: str = ""

    def figure(self, name: str, value: Any) -> None:  # noqa: ANN401 - any of JSON's types
        """Keep a measured figure."""
        self.figures[name] = value
        self.write()

    def check(self, name: str, found: float, *, at_most: float | None = None, at_least: float | None = None) -> None:
        """Hold a number against its limits, which it may reach; NaN is within none."""
        low = -float("inf") if at_least is None else at_least
        high = float("inf") if at_most is None else at_most
        limits = [f"{sign} {limit:g}" for sign, limit in ((">=", at_least), ("<=", at_most)) if limit is not None]
        self.checks.append(
            {"name": name, "passed": bool(low <= found <= high), "expected": " and ".join(limits), "found": found}
        )
        self.write()

    def note(self, sentence: str) -> None:
        """Keep a sentence."""
        self.notes.append(" ".join(sentence.split())[:2000])
        self.write()

    def write(self) -> None:
        """Write everything, whole."""
        partial = self.path.with_suffix(".partial")
        said = {key: value for key, value in asdict(self).items() if key != "path"}
        partial.write_text(json.dumps(json_ready(said)), encoding="utf-8")
        partial.replace(self.path)
