"""The diagnosis: facts, rules, the engine, the smoke test."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..hardware.here import device_for
from .cures import command_first
from .describe import described
from .device import check_engine_on, device_line
from .diagnosis import Diagnosis
from .engine import check_engine
from .findings import Finding, Level, Line
from .gather import gather
from .packages import NAMES
from .rules import judge
from .steps import DONE, FAILED, SKIPPED, Step, run_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .facts import Facts

SMOKE_SECONDS = 120.0
"""What the smoke test is given; NVRTC takes seconds for the kernel, TensorRT-RTX for an engine's first start."""
AREA = "smoke"
CRASH_CURE = "python -m runtime doctor --no-smoke"
"""A question: what is red there comes first, and then what is named here has to be installed anew."""


def doctor(engine: Path | str | None = None, *, smoke: bool = True, device: str | None = None) -> Diagnosis:
    """What is on this device, what of it does not work, and what cures it.

    Args:
        engine: a graph or engine, its manifest beside it, to be told whether it runs here.
        smoke: use everything that is here once, in a process of its own: seconds, instead of one.
        device: name of a device of the table, or ``auto``: what it needs and takes is told as well, and whether the
            engine runs there instead of here. None for this machine alone.

    Returns:
        what was found; ``str()`` of it is the page, ``level`` the worst of it, ``findings`` what is yellow or red.

    Raises:
        DefianError: no such device.
    """
    begun = time.perf_counter()
    path = None if engine is None else Path(engine)
    meant = None if device is None else device_for(device)
    facts = gather()
    lines = lines_of(facts)
    if meant is not None:
        lines.append(device_line(meant, facts))
    if path is not None:
        lines.append(check_engine(path, facts) if meant is None else check_engine_on(path, meant))
    seconds = time.perf_counter() - begun
    if not smoke:
        return Diagnosis(tuple(lines), facts, seconds)
    fits = path is not None and meant is None and lines[-1].level < Level.RED
    steps = run_steps("smoke", [str(path.resolve())] if path is not None and fits else [], SMOKE_SECONDS)
    lines += smoke_lines(steps)
    return Diagnosis(tuple(lines), facts, seconds, time.perf_counter() - begun - seconds)


def lines_of(facts: Facts) -> list[Line]:
    """The page without the engine and the smoke test: each finding at the first line that names what it names."""
    lines = [Line(area, text) for area, text in described(facts)]
    for finding in judge(facts):
        fitting = [index for index, line in enumerate(lines) if line.area == finding.area]
        naming = [index for index in fitting if _named(lines[index].text) & _named(finding.text)]
        index = (naming or fitting[-1:])[0]
        lines[index] = replace(lines[index], findings=(*lines[index].findings, finding))
    return lines


def _named(text: str) -> set[str]:
    """The packages that a text names."""
    return set(re.findall(r"[a-z][a-z0-9-]*", text)) & set(NAMES)


def smoke_lines(steps: Sequence[Step]) -> list[Line]:
    """A line for each step that was tried, and one for all that were not for the same reason."""
    untried: dict[str, list[str]] = {}
    for step in steps:
        if step.status == SKIPPED:
            untried.setdefault(f"{step.reason[:1].lower()}{step.reason[1:].rstrip('.')}", []).append(step.name)
    told = [_smoke_line(step) for step in steps if step.status != SKIPPED]
    return told + [Line(AREA, f"not tried: {', '.join(names)}; {why}") for why, names in untried.items()]


def _smoke_line(step: Step) -> Line:
    if step.status == DONE:
        return Line(AREA, f"{step.name}: {step.value}")
    what = "failed" if step.status == FAILED else "crashed"
    cure = command_first(step.cure, CRASH_CURE)
    finding = Finding(Level.RED, AREA, step.reason, cure, f"smoke-{what}", "runtime/doctor/smoke.py")
    return Line(AREA, f"{step.name}: {what}", (finding,))
