"""The log, a JSON object a line, and the picture of it."""

from __future__ import annotations

import io
import json
import math
import time
from typing import TYPE_CHECKING, Any

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

LOG, PLOT = "log.jsonl", "training.png"


class Journal:
    """Appends to ``log.jsonl``; on resuming, lines beyond the checkpoint's step go first."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / LOG
        self.entries = [entry for entry in _read(self._path) if entry.get("step", 0) <= step] if step else []
        write_whole(self._path, "".join(_line(entry) for entry in self.entries).encode())

    def note(self, **entry: Any) -> None:  # noqa: ANN401
        """Add a line.

        Raises:
            DefianError: it cannot be written.
        """
        self.entries.append(entry)
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(_line(entry))
        except OSError as error:
            raise DefianError(
                f"Cannot write {self._path}: {error.strerror}.", "Free some space, then go on with --resume."
            ) from error

    def plot(self, folder: Path) -> float:
        """Draw loss and validation over steps into ``training.png``; the seconds that it took, but for imports.

        Raises:
            DefianError: it cannot be written.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:  # an extra of its own; the log has everything
            return 0.0
        begun = time.monotonic()
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        left = figure.subplots()
        losses = [(entry["step"], entry["loss"]) for entry in self.entries if entry.get("loss")]
        if losses:
            left.plot(*zip(*losses, strict=True), color="tab:blue", linewidth=0.8)
            left.set_yscale("log")
        left.set_xlabel("step")
        left.set_ylabel("L1 loss in the normalised space", color="tab:blue")
        curves: dict[str, list[tuple[int, float]]] = {}
        for entry in self.entries:
            for name, value in entry.get("psnr", {}).items():
                curves.setdefault(name, []).append((entry["step"], value))
        if curves:
            right = left.twinx()
            for (name, points), marker in zip(curves.items(), "osv^", strict=False):
                right.plot(*zip(*points, strict=True), color="tab:red", marker=marker, markersize=3, label=name)
            right.set_ylabel("PSNR-Y of the averaged weights in dB", color="tab:red")
            right.legend(loc="lower center")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        write_whole(folder / PLOT, buffer.getvalue())
        return time.monotonic() - begun


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(_plain(entry)) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401
    """JSON has no infinity and no NaN."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(path: Path) -> list[dict[str, Any]]:
    """Lines that are whole: a kill can cut the last one."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries
