"""The repository's own tests that need a GPU."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from defian_edge.selftest.failures import MARK
from defian_edge.selftest.protocol import CannotRun
from defian_edge.selftest.runner import ROOT

if TYPE_CHECKING:
    from defian_edge.selftest.protocol import Record, Settings

SUMMARY = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed|deselected)")


def run(_settings: Settings, record: Record) -> None:
    """``pytest -m gpu`` on the files that have such tests; only they are read, as others need more packages.

    Tests that take minutes are left to whoever runs pytest.
    """
    files = [
        str(path)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8")
    ]
    if not files:
        raise CannotRun("The tests are not here: run it in a checkout of the repository.")
    if importlib.util.find_spec("pytest") is None:
        raise CannotRun("The Python package pytest is not installed.")
    plugins = ["-p", "no:cacheprovider", "-p", "defian_edge.selftest.failures"]
    command = [sys.executable, "-m", "pytest", "-m", "gpu and not slowest", "-v", "-rsf", *plugins, *files]
    lines: list[str] = []
    passed = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as running:
        for line in running.stdout or ():
            print(line, end="", flush=True)
            lines.append(line.rstrip())
            if " PASSED " in line:
                passed += 1
                record.figure("tests", {"passed": passed})  # kept at once, as failures are
            if " FAILED " in line or line.startswith(("SKIPPED", "ERROR", MARK)):
                record.note(line)
                if " FAILED " in line:  # the stage may be ended before the summary
                    record.check(line.partition(" FAILED ")[0], 1, at_most=0)
    last = next((line for line in reversed(lines) if SUMMARY.search(line)), "")
    counts = {kind.rstrip("s"): int(number) for number, kind in SUMMARY.findall(last)}
    record.figure("tests", counts)
    wrong = counts.get("failed", 0) + counts.get("error", 0) if last else float("nan")
    record.check("tests that failed", wrong, at_most=0)
    if not wrong and not counts.get("passed"):
        raise CannotRun("Every test skipped: the notes say why.")
