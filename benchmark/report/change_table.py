"""Old against new as a table; what exceeds the noise is named."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from defian_edge.benchmark.report.table import Table
from defian_edge.benchmark.words import megabytes, milliseconds, signless_zero

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defian_edge.benchmark.baseline.changes import Change


def change_table(changes: Sequence[Change]) -> Table:
    """One row a figure that both results have; those that changed by more than the noise come first."""
    table = Table("Against the earlier result", ("artefact", "figure", "before", "now", "change", "noise", "verdict"))
    for change in sorted(changes, key=lambda each: not each.exceeds):
        unit = change.figure.unit
        if change.figure.relative:
            sizes = f"{round(change.size, 3) or 0.0:+.1%}", f"{change.noise:.1%}"
        else:
            sizes = f"{round(change.size, 4) or 0.0:+.4f}", f"{change.noise:.4f}"
        values = _words(change.old, unit), _words(change.new, unit)
        table.add(change.name, change.figure.name, *values, *sizes, change.verdict)
    return table


def _words(value: float, unit: str) -> str:
    if unit == "s":
        return f"{milliseconds(value)} ms"
    if unit == "B":
        return f"{megabytes(int(value))} MB"
    return f"{signless_zero(value)} dB" if math.isfinite(value) else "equal"
