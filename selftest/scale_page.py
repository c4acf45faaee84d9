"""docs/scale.md's tables: what one GPU does in a day, and how many are needed, from docs/gpu and the roofline."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.hardware.table import DEVICES
from defian_edge.selftest.page_sections import latencies, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from defian_edge.selftest.report import Outcome, Report

BEGIN, END = "<!-- from docs/gpu and docs/rewrites.md -->\n", "<!-- end -->\n"
"""Around the tables."""
MODEL, SIZE = "defian-s-x2", "1x540x960"
DAY = 86_400_000.0
"""Milliseconds."""
PHOTOS, FRAMES = 1_000_000, 100 * 3600 * 25
"""What is to be done: a million photos; a hundred hours of film at 25 frames a second."""
BACKENDS = ("PyTorch", "ONNX Runtime CUDA", "TensorRT-RTX", "TensorRT")
BOUNDED = ("orin-nano", "orin-nano-super", "orin-nx", "orin-nx-super", "agx-orin", "rtx3090", "rtx4090", "rtx5090")
BOUNDED = (*BOUNDED, "t4", "l4", "l40s", "a100", "h100", "h200")
"""Devices of the second table; docs/devices.md has them all."""
MACS_ROW, BYTES_ROW = r"GMACs, x2, 540x960", r"GB moved, x2, FP16, 540x960[^|]*"
"""Rows of docs/rewrites.md; their third figure is that of the graph from which engines are built."""


def with_tables(page: str, found: Sequence[tuple[str, Report]], rewrites: str) -> str:
    """docs/scale.md with its tables made anew.

    Args:
        page: the page as it is.
        found: name and content of every report.
        rewrites: the text of docs/rewrites.md, where a picture's work stands.

    Raises:
        DefianError: the marks around the tables, or a figure, are missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise DefianError(f"docs/scale.md: expected the lines {BEGIN.strip()} and {END.strip()}, found not both.")
    return before + begin + measured(found) + "\n" + bounded(rewrites) + end + after


def measured(found: Sequence[tuple[str, Report]]) -> str:
    """Of every card the fastest by each backend, and the stream of frames through the runtime's session."""
    rows = []
    for _, report in found:
        stages = {outcome.name: outcome for outcome in report.outcomes}
        card = report.machine.get("card", {}).get("name", "unknown card")
        rows += [(card, by, *_cells(milliseconds)) for by, milliseconds in (*_fastest(stages), *_streamed(stages))]
    heads = ("measured on", "by", "ms", "a day", "GPUs: a million photos", "100 hours of film")
    return table(heads, rows) or "No card has been measured.\n"


def bounded(rewrites: str) -> str:
    """Of some devices in the table of peaks what no FP16 engine of this graph can exceed there."""
    operations = 2e9 * _figure(rewrites, MACS_ROW)
    moved = 1e9 * _figure(rewrites, BYTES_ROW)
    rows = []
    for device in (DEVICES[name] for name in BOUNDED):
        if device.fp16 is None:
            raise DefianError(f"{device.name}: expected a published FP16 rate, found none.")
        arithmetic, memory = (1e3 * part for part in (operations / device.fp16, moved / device.bandwidth))
        limit = "arithmetic" if arithmetic >= memory else "memory"
        rows.append((device.name, limit, *_cells(max(arithmetic, memory))))
    return table(
        ("bounded on", "by", "ms, at least", "a day, at most", "GPUs: a million photos", "100 hours of film"), rows
    )


def _cells(milliseconds: float) -> tuple[str, str, str, str]:
    a_day = DAY / milliseconds
    photos, frames = (f"{math.ceil(pictures / a_day)}" for pictures in (PHOTOS, FRAMES))
    return f"{milliseconds:.1f}", f"{a_day:,.0f}".replace(",", " "), photos, frames


def _fastest(stages: dict[str, Outcome]) -> Iterable[tuple[str, float]]:
    found: dict[str, tuple[str, float]] = {}
    for (model, by), cells in latencies(stages).items():
        cell = cells.get(SIZE)
        if model != MODEL or not cell:
            continue
        backend = next(each for each in BACKENDS if by.startswith(each))
        milliseconds = float(cell.split(maxsplit=1)[0])
        if backend not in found or milliseconds < found[backend][1]:
            found[backend] = (by, milliseconds)
    return found.values()


def _streamed(stages: dict[str, Outcome]) -> Iterable[tuple[str, float]]:
    """The rate of a stream of frames, where it is of this size; copies to and from the device included."""
    for name, by in (("session", "a session's stream, PyTorch fp16 its engine"), ("frames", "a session's stream")):
        frames = stages[name].figures.get("frames") if name in stages else None
        if isinstance(frames, dict) and f"1x{frames.get('shape')}" == SIZE:
            yield by, 1e3 / frames["frames_per_second"]


def _figure(rewrites: str, row: str) -> float:
    found = re.search(rf"^\| {row} \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|", rewrites, re.MULTILINE)
    if found is None:
        raise DefianError(f"docs/rewrites.md: expected a row {row!r} with three figures, found none.")
    return float(found[1])
