"""The tables that the page folds away: every statistic of every figure, and the ratio of every pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.benchmark.report.table import Table
from defian_edge.benchmark.report.tables import PART_NAMES
from defian_edge.benchmark.statistics import summarise
from defian_edge.benchmark.words import milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defian_edge.benchmark.results import BenchResult, Measured


def statistics_tables(result: BenchResult) -> list[Table]:
    """All of them, shape by shape."""
    tables: list[Table] = []
    for index, shape in enumerate(result.shapes):
        tables.append(statistics_table(result.measured, index, shape))
        tables += part_statistics_tables(result.measured, index, shape)
        tables.append(pairs_table(result, shape))
    return [table for table in tables if table.rows]


def statistics_table(measured: Sequence[Measured], index: int, shape: str) -> Table:
    """Every statistic of the latencies, as trtexec lists them."""
    columns = ("artefact", "samples", "min", "max", "mean", "median", "p90", "p95", "p99", "99 % interval of the ratio")
    table = Table(f"All statistics of the latency at {shape} in ms", columns)
    for each in measured:
        if not each.latencies:
            continue
        latency = each.latencies[index]
        of = latency.summary
        times = (of.minimum, of.maximum, of.mean, of.median, of.p90, of.p95, of.p99)
        interval = None if latency.comparison is None else latency.comparison.interval
        words = "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
        table.add(each.candidate.name, str(of.count), *map(milliseconds, times), words)
    return table


def part_statistics_tables(measured: Sequence[Measured], index: int, shape: str) -> list[Table]:
    """Every statistic of enqueue, H2D, GPU compute and D2H, as trtexec lists them; none without device timings."""
    tables: list[Table] = []
    for part, words in PART_NAMES.items():
        known = [each for each in measured if each.latencies and each.latencies[index].parts.get(part)]
        if not known:
            continue
        columns = ("artefact", "samples", "min", "max", "mean", "median", "p90", "p95", "p99")
        table = Table(f"All statistics of {words} at {shape} in ms", columns)
        for each in known:
            of = summarise(each.latencies[index].parts[part])
            times = (of.minimum, of.maximum, of.mean, of.median, of.p90, of.p95, of.p99)
            table.add(each.candidate.name, str(of.count), *map(milliseconds, times))
        tables.append(table)
    return tables


def pairs_table(result: BenchResult, shape: str) -> Table:
    """Every two candidates: how much longer one takes than the other, round by round."""
    table = Table(f"Latency ratios of every pair at {shape}", ("artefact", "to", "ratio", "quartiles", "verdict"))
    for pair in result.pairs():
        if pair["shape"] == shape:
            low, high = pair["quartiles"]
            table.add(pair["of"], pair["to"], f"{pair['ratio']:.3f}", f"{low:.3f} to {high:.3f}", pair["verdict"])
    return table
