"""What a verification says, as text and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..json_values import json_ready
from ..table import NO_LIMIT, Table
from .budget import below
from .figures import METRIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .budget import Budget
    from .checks import Outcome
    from .run import Verdict

SCHEMA = 1
COLUMNS = (
    *("picture", "LR", "PSNR-Y", "PSNR", "promised", "below", "block", "drift", "promised", "equal", "step", "verdict"),
)


def lines_of(verdict: Verdict, width: int = NO_LIMIT) -> list[str]:
    """The table of an artefact, every picture in one row with its worst result, and what else there is to say.

    In a terminal that is narrower than the table, every picture is a paragraph.
    """
    lines = [f"{verdict.path.name}: {verdict.backend or 'not run'}"]
    if verdict.error:
        return [*lines, f"  error: {verdict.error}"]
    lines.append(f"  against the reference's pictures in {verdict.pack.path.name}; dB, PSNR over RGB, drift of PSNR-Y")
    rows = [_row(each) for each in _worst_of_each(verdict.outcomes)]
    lines += Table("", COLUMNS, rows, words=("verdict",)).lines(width)
    lines += [f"  checked: {_ways(verdict.outcomes)}", *(f"  note: {each}" for each in verdict.notes)]
    for each in verdict.failed:
        lines.append(f"  WRONG {each.picture.name}, {each.way}: {'; '.join(each.faults)}")
        lines.append(f"    looks like {each.kind}")
    return lines


def _worst_of_each(outcomes: Sequence[Outcome]) -> list[Outcome]:
    worst: dict[str, Outcome] = {}
    for each in outcomes:
        other = worst.get(each.picture.name)
        if other is None or _badness(each) > _badness(other):
            worst[each.picture.name] = each
    return list(worst.values())


def _badness(outcome: Outcome) -> tuple[int, float]:
    return len(outcome.faults), -outcome.figures.psnr_to_reference


def _row(outcome: Outcome) -> tuple[str, ...]:
    found, promised = outcome.figures, outcome.promised
    none = promised is None
    return (
        outcome.picture.name,
        "x".join(map(str, outcome.picture.lr.shape[:2])),
        decibels(found.psnr_y_to_reference),
        decibels(found.psnr_to_reference),
        "-" if none else decibels(promised.psnr_to_reference),
        "-" if none else decibels(below(found.psnr_to_reference, promised.psnr_to_reference)),
        decibels(found.worst_block),
        decibels(found.drift, 4),
        "-" if none else decibels(promised.drift, 4),
        share(found.equal_share),
        str(found.largest_step),
        "WRONG" if outcome.faults else "right",
    )


def decibels(value: float, places: int = 2) -> str:
    """Such as ``61.95``; ``inf`` for equal pictures, a dash where there is nothing to compare with."""
    if math.isnan(value):
        return "-"
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def share(value: float) -> str:
    """A share in per cent that says 100 only if nothing is missing."""
    text = f"{value:.2%}"
    return ">99.99%" if text == "100.00%" and value < 1 else text


def _ways(outcomes: Sequence[Outcome]) -> str:
    """Every way with the number of its pictures: ``call 1 (9), call 2 (9), tiles (1)``."""
    counts: dict[str, int] = {}
    for each in outcomes:
        counts[each.way] = counts.get(each.way, 0) + 1
    return ", ".join(f"{way} ({count})" for way, count in counts.items())


def as_json(verdicts: Sequence[Verdict], budget: Budget, command: str) -> dict[str, Any]:
    """Everything but the pictures, in JSON's types."""
    content = {
        "schema": SCHEMA,
        "command": command,
        "metric": METRIC,
        "budget": asdict(budget),
        "passed": all(each.passed for each in verdicts),
        "artefacts": [_verdict_json(each) for each in verdicts],
    }
    return json_ready(content)


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    manifest = verdict.manifest
    return {
        "file": verdict.path.name,
        "sha256": manifest.sha256,
        "model": manifest.model,
        "precision": manifest.precision,
        "checkpoint_sha256": manifest.checkpoint_sha256,
        "backend": verdict.backend,
        "reference": {"file": verdict.pack.path.name, "sha256": verdict.pack.sha256},
        "passed": verdict.passed,
        "error": verdict.error,
        "notes": list(verdict.notes),
        "results": [
            {
                "picture": each.picture.name,
                "kind": each.picture.kind,
                "lr": list(each.picture.lr.shape[:2]),
                "way": each.way,
                "found": each.figures.as_json(),
                "promised": None if each.promised is None else each.promised.as_json(),
                "below_promise_db": None
                if each.promised is None
                else below(each.figures.psnr_to_reference, each.promised.psnr_to_reference),
                "faults": list(each.faults),
                "looks_like": each.kind,
            }
            for each in verdict.outcomes
        ],
    }
