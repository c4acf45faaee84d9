"""docs/gpu.md, README's rows and docs/scale.md's tables from the reports in docs/gpu: ``python -m selftest.page``.

A test compares them.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import write_whole
from defian_edge.selftest.page_sections import card_section, latencies, table
from defian_edge.selftest.report import read_report
from defian_edge.selftest.runner import ROOT
from defian_edge.selftest.scale_page import with_tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from defian_edge.selftest.report import Report

REPORTS, PAGE, README = ROOT / "docs" / "gpu", ROOT / "docs" / "gpu.md", ROOT / "README.md"
SCALE, REWRITES = ROOT / "docs" / "scale.md", ROOT / "docs" / "rewrites.md"
BEGIN, END = "<!-- from docs/gpu -->\n", "<!-- end -->\n"
"""Around README's rows."""
HEAD = """# On GPUs

What was found on the cards that were at hand by `make gpu`, or stage by stage with its functions where a note says so;
`python -m defian_edge.selftest.page` makes this page from the reports in
[docs/gpu](gpu), and a test fails if it does not follow from them. How to run it, and how to send a report of a card
that is not here: [docs/selftest.md](selftest.md).
"""
NOTHING = "\nNo report is here yet: nothing in this repository has been measured on a GPU.\n"


def main() -> None:
    """Write the pages; exits with 2 if a report cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m defian_edge.selftest.page", description=__doc__)
    parser.parse_args()
    try:
        found = reports()
        for path, text in (
            (PAGE, page(found)),
            (README, with_rows(README.read_text(encoding="utf-8"), found)),
            (SCALE, with_tables(SCALE.read_text("utf-8"), found, REWRITES.read_text("utf-8"))),
        ):
            if path.is_file() and path.read_text(encoding="utf-8") == text:
                print(f"{path} is as it should be")
                continue
            write_whole(path, text.encode())
            print(f"wrote {path}")
    except DefianError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def reports(folder: Path = REPORTS) -> list[tuple[str, Report]]:
    """Name and content of every report, by name.

    Raises:
        DefianError: one is damaged.
    """
    return [(path.name, read_report(path)) for path in sorted(folder.glob("*.json"))]


def page(found: Sequence[tuple[str, Report]]) -> str:
    """The whole page in Markdown."""
    return HEAD + ("".join(card_section(name, report) for name, report in found) if found else NOTHING)


def with_rows(readme: str, found: Sequence[tuple[str, Report]]) -> str:
    """README with its rows about GPUs made anew.

    Raises:
        DefianError: the marks around them are missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise DefianError(f"README.md: expected the lines {BEGIN.strip()} and {END.strip()}, found not both.")
    return before + begin + _readme_rows(found) + end + after


def _readme_rows(found: Sequence[tuple[str, Report]]) -> str:
    if not found:
        return "No speed on a GPU is claimed here: none was at hand to measure it.\n"
    rows = []
    for _, report in found:
        stages = {outcome.name: outcome for outcome in report.outcomes}
        named = f"{report.machine.get('card', {}).get('name', 'unknown card')}, {report.started[:10]}"
        rows += [(named, run_by, f"{cell} ms") for run_by, cell in _fastest(latencies(stages))]
        target = stages.get("rtx-target")
        if target is not None and target.reason:
            rows.append((named, "TensorRT-RTX", target.reason.partition(":")[0]))
    return table(("card", f"{README_MODEL}, the fastest by", f"{README_SIZE} LR, network alone"), rows)


def _fastest(rows: dict[tuple[str, str], dict[str, str]]) -> list[tuple[str, str]]:
    """Of every backend the one row that the README shows: what ran, and its cell."""
    found: dict[str, tuple[str, str]] = {}
    for (model, run_by), cells in rows.items():
        backend = next(each for each in BACKENDS if run_by.startswith(each))
        cell = cells.get(README_SIZE)
        if model == README_MODEL and cell and (backend not in found or _value(cell) < _value(found[backend][1])):
            found[backend] = (run_by, cell)
    return list(found.values())


def _value(cell: str) -> float:
    return float(cell.split(maxsplit=1)[0])


BACKENDS = ("PyTorch", "ONNX Runtime CUDA", "TensorRT-RTX", "TensorRT")
README_MODEL, README_SIZE = "defian-s-x2", "1x540x960"


if __name__ == "__main__":
    main()
