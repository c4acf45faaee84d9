"""What an export prints when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from defian_edge.export import tables
from defian_edge.export.range_table import overshoot_lines, overshoot_table
from defian_edge.export.terminal import show_table
from defian_edge.runtime.entry import printable

if TYPE_CHECKING:
    from rich.console import Console

    from defian_edge.export.artefacts import ExportResult
    from defian_edge.export.options import ExportOptions


def show(result: ExportResult, options: ExportOptions, console: Console) -> None:
    """Print the tables of an export."""
    console.print(escape(f"{result.network.name}: {result.network.description}"), soft_wrap=True)
    if result.network.reach:
        words = tables.reach_words(result.network.reach, result.network.source.get("tiling", ""))
        console.print(escape(words), soft_wrap=True)
    show_table(tables.rewrite_table(result.steps, result.profile), console)
    for line in tables.unused_lines(result.steps):
        console.print(escape(line), soft_wrap=True)
    if any(artefact.drift for artefact in result.artefacts):
        show_table(tables.drift_table(result.artefacts, options.max_drift, result.network.reference), console)
    ranges = overshoot_table(result.artefacts)
    if ranges is not None:
        show_table(ranges, console)
    if any(artefact.shares for artefact in result.artefacts):
        show_table(tables.shares_table(result.artefacts), console)
    for line in [
        *tables.range_lines(result.artefacts),
        *overshoot_lines(result.artefacts, options.calibration),
        *tables.int8_lines(result.artefacts, result.fp16, options.target, options.device),
        *filter(None, [result.advice]),
    ]:
        console.print(escape(line), soft_wrap=True)
    if any(artefact.engine for artefact in result.artefacts):
        show_table(tables.engine_table(result.artefacts), console)
    for line in tables.file_lines(result):
        print(printable(line))
    for line in tables.refusals(result.artefacts):
        console.print(f"[red]refused[/red] {escape(line)}", soft_wrap=True)
