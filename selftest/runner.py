"""Runs the stages in turn, each in a process with a time limit, within one budget. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defian_edge.selftest.child import BROKEN, SKIP
from defian_edge.selftest.report import FAILED, PASSED, SKIPPED, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from defian_edge.selftest.protocol import Settings
    from defian_edge.selftest.report import Report
    from defian_edge.selftest.table import Stage

ROOT = Path(__file__).resolve().parent.parent
RESERVE = 2.0
"""Seconds of the budget that are kept for ending a stage and writing the file."""
SHOWN = 4000
"""Characters of a broken stage's output that are kept."""


def run_stages(
    stages: Sequence[Stage], settings: Settings, report: Report, save: Callable[[], None], say: Callable[[str], None]
) -> None:
    """Run what fits into the report's budget; ``save`` is called after every stage, ``say`` gets a line for each."""
    ends = time.monotonic() + report.budget_seconds
    for stage in stages:
        left = ends - time.monotonic() - RESERVE
        if left < stage.least:
            reason = f"Time: {max(left, 0.0):.0f} s are left of the budget, it needs {stage.least} s at least."
            outcome = Outcome(stage.name, stage.title, SKIPPED, reason)
        else:
            say(f"       {stage.name:<12} {stage.title}")
            outcome = run_stage(stage, replace(settings, seconds=round(min(stage.limit, left), 1)))
        report.put(outcome)
        save()
        say(outcome.line())
    report.finished = True
    save()


def run_stage(stage: Stage, settings: Settings) -> Outcome:
    """One stage in a process group of its own, ended with all its children after ``settings.seconds``."""
    result = Path(settings.folder) / f"{stage.name}.result.json"
    log = Path(settings.folder) / f"{stage.name}.log"
    result.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "defian_edge.selftest.child",
        stage.work,
        json.dumps(asdict(settings)),
        str(result),
    ]
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT,
            env=_environment(settings), start_new_session=True,
        )  # fmt: skip
        with _ended(process):
            try:
                status: int | None = process.wait(settings.seconds)
            except subprocess.TimeoutExpired:
                status = None
    outcome = _outcome(stage, status, _read(result), settings.seconds)
    output_end = _tail(log) if outcome.status == FAILED else ""
    return replace(outcome, seconds=round(time.monotonic() - begun, 2), output=output_end)


def _environment(settings: Settings) -> dict[str, str]:
    """The repository comes first; caches are the run's own, so that a first start is one."""
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(ROOT), *([inherited] if inherited else [])])
    return os.environ | {"PYTHONPATH": path, "DEFIAN_CACHE": str(Path(settings.folder) / "cache")}


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Nothing of the stage's process group is alive afterwards, whatever ended the wait."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _outcome(stage: Stage, status: int | None, said: dict[str, Any], limit: float) -> Outcome:
    found = Outcome(
        stage.name, stage.title, PASSED,
        figures=said.get("figures", {}), checks=said.get("checks", []), notes=said.get("notes", []),
    )  # fmt: skip
    reason = str(said.get("reason", ""))
    wrong = any(not check["passed"] for check in found.checks)
    if status is None:
        reason = f"Time: it was ended after {limit:.0f} s."
        kept = PASSED if found.checks else SKIPPED
        return replace(found, status=FAILED if wrong else kept, reason=reason)
    if status == SKIP:
        return replace(found, status=FAILED if wrong else SKIPPED, reason=reason)
    if status != 0:
        died = f"It was ended by signal {-status}." if status < 0 else f"It ended with status {status}."
        return replace(found, status=FAILED, reason=reason if status == BROKEN and reason else died)
    if not found.checks:
        return replace(found, status=SKIPPED, reason="It found nothing to hold against a limit.")
    return replace(found, status=FAILED if wrong else PASSED)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - SHOWN))
        return file.read().decode(errors="replace")


def clear(folder: Path) -> None:
    """Remove what the stages left; their results are in the report."""
    shutil.rmtree(folder, ignore_errors=True)
