"""The one JSON file of a run, written whole after every stage. Standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import write_whole
from defian_edge.runtime.json_values import json_ready, parse_json

SCHEMA = 1
SCHEMA_FILE = Path(__file__).with_name("schema.json")
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
SYMBOLS = {PASSED: "ok", FAILED: "WRONG", SKIPPED: "-"}


@dataclass(frozen=True)
class Outcome:
    """What became of one stage.

    Attributes:
        name, title: the stage's.
        status: ``passed``; ``failed``: a number was wrong, or the stage broke; ``skipped``: it could not run.
        reason: why it was skipped or failed; of a passed stage what cut it short, else empty.
        seconds: that it took.
        figures: what was measured, by name.
        checks: ``{"name", "passed", "expected", "found"}``, in the order in which they were made.
        notes: sentences, such as a compiler's own words.
        output: the end of what the process printed, of a stage that failed.
    """

    name: str
    title: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    output: str = ""

    def line(self) -> str:
        """One line for the terminal."""
        wrong = [check["name"] for check in self.checks if not check["passed"]]
        said = self.reason or (f"{len(self.checks)} checks" if self.checks else "")
        if wrong:
            said = f"{', '.join(wrong[:3])}{' and more' if len(wrong) > 3 else ''} ({said})"
        return f"{SYMBOLS[self.status]:>5}  {self.name:<12} {self.seconds:6.1f} s  {said}"


@dataclass
class Report:
    """A run.

    Attributes:
        started: local time with its zone, ISO 8601.
        budget_seconds: what the run was given.
        command: the command line.
        machine: what the stage ``environment`` found; empty if it found nothing.
        outcomes: of the stages so far.
        finished: whether all stages had their turn.
    """

    started: str
    budget_seconds: float
    command: str
    machine: dict[str, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    finished: bool = False

    @property
    def failed(self) -> bool:
        """Whether a stage found a wrong number or broke."""
        return any(outcome.status == FAILED for outcome in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        """In JSON's types, as ``schema.json`` says."""
        return json_ready(
            {
                "schema": SCHEMA,
                "started": self.started,
                "finished": self.finished,
                "budget_seconds": self.budget_seconds,
                "command": self.command,
                "machine": self.machine,
                "stages": [asdict(outcome) for outcome in self.outcomes],
            }
        )

    def put(self, outcome: Outcome) -> None:
        """Add a stage's outcome, in the place of an earlier one of the same stage.

        Raises:
            DefianError: it is of another card than the report.
        """
        machine = outcome.figures.get("machine", {})
        before, now = (each.get("card", {}).get("name") for each in (self.machine, machine))
        if before and now and before != now:
            raise DefianError(
                f"The report is of {before}, and this machine has {now}.",
                "Leave --add-to out: a report is of one card.",
            )
        names = [each.name for each in self.outcomes]
        place = names.index(outcome.name) if outcome.name in names else len(names)
        self.outcomes[place : place + 1] = [outcome]
        self.machine = machine or self.machine

    def write(self, path: Path) -> None:
        """Write the file; it appears whole or not at all."""
        write_whole(path, (json.dumps(self.as_json(), indent=1) + "\n").encode())


def read_report(path: Path) -> Report:
    """A report that was written before.

    Raises:
        DefianError: it cannot be read, or is of another schema.
    """
    try:
        said = parse_json(path.read_bytes())
        found = said["schema"]
    except OSError as error:
        raise DefianError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DefianError(f"{path}: expected a report of the selftest, found something else.") from error
    if found != SCHEMA:
        raise DefianError(f"{path}: expected a report of schema {SCHEMA}, found {found!r}.", "Run the selftest again.")
    try:
        outcomes = [Outcome(**stage) for stage in said["stages"]]
        return Report(
            said["started"], said["budget_seconds"], said["command"], said["machine"], outcomes, said["finished"]
        )
    except (KeyError, TypeError) as error:
        raise DefianError(f"{path}: the report lacks a part: {error}.", "Run the selftest again.") from error
