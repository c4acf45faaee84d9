"""When to stop, validate and save: a budget of steps, or of minutes whose end must not be overrun."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.train.schedule import Plan

FIRST_STEPS = 50
"""Timed before the end is estimated for the first time, if that is not more than a twentieth of the budget."""
PLANNED = 20
"""How often the end is estimated again in the course of a training."""
FINISH_SECONDS = 2.0
"""Kept for the summary and the process's own end."""
VALIDATION_SHARE = 0.04
"""Of a budget of minutes that may go into validation between the first and the last."""
SMOOTHING = 0.1
UNKNOWN_END = 10**12


@dataclass
class Clock:
    """Counts seconds of steps, validations and checkpoints, and plans the learning rate's end by them.

    Attributes:
        deadline: on the monotonic clock, when the process must be done; None if steps are counted.
        validations: how many are wanted in all, the first and the last included.
        now: the clock, in seconds.
        step_seconds: smoothed; None before the first burst.
        validation_seconds, save_seconds, plot_seconds: of the last ones.
        trained_seconds, trained_steps: of this process, steps alone.
    """

    deadline: float | None
    validations: int
    now: Callable[[], float] = time.monotonic
    step_seconds: float | None = None
    validation_seconds: float = 0.0
    save_seconds: float = 0.0
    plot_seconds: float = 0.0
    trained_seconds: float = 0.0
    trained_steps: int = 0
    _begun: float = field(default=0.0)

    def start(self, first_validation: float) -> None:
        """Training begins; the first validation took this long, which says how many more are affordable."""
        self._begun = self.now()
        self.validation_seconds = first_validation
        if self.deadline is not None and first_validation > 0:
            affordable = int(VALIDATION_SHARE * (self.deadline - self._begun) / first_validation)
            self.validations = min(self.validations, affordable + 2)

    def trained(self, steps: int, seconds: float) -> None:
        """Some more steps are done."""
        each = seconds / steps
        old = self.step_seconds
        self.step_seconds = each if old is None else old + SMOOTHING * (each - old)
        self.trained_steps += steps
        self.trained_seconds += seconds

    @property
    def reserve(self) -> float:
        """Seconds that the end of a training takes: validation, checkpoint, plot, summary."""
        return 1.3 * (self.validation_seconds + self.save_seconds + self.plot_seconds) + FINISH_SECONDS

    def is_over(self, next_steps: int) -> bool:
        """Whether the budget of minutes leaves no time for some more steps."""
        if self.deadline is None:
            return False
        return self.now() + next_steps * (self.step_seconds or 0.0) + self.reserve >= self.deadline

    def affords_validation(self) -> bool:
        """Whether a validation ends before the deadline."""
        return self.deadline is None or self.now() + self.validation_seconds < self.deadline

    def first_plan_is_due(self) -> bool:
        """Whether enough steps were timed to estimate the end."""
        if self.deadline is None or self.step_seconds is None:
            return False
        early = self.now() - self._begun > (self.deadline - self._begun) / PLANNED
        return self.trained_steps >= FIRST_STEPS or early

    def planned(self, plan: Plan, step: int, save_every: float) -> Plan:
        """The plan whose end is where the minutes end; the same plan if steps are counted."""
        if self.deadline is None or self.step_seconds is None:
            return plan
        left = self.deadline - self.reserve - self.now()
        to_come = (1.0 - plan.phase_at(step)) * max(0, self.validations - 2) * self.validation_seconds
        saving = 1.0 + self.save_seconds / max(1.0, save_every)
        return plan.moved(step, step + max(1, int((left - to_come) / saving / self.step_seconds)))

    def seconds_left(self, plan: Plan, step: int) -> float | None:
        """Estimated, to the end of training; None if nobody knows yet."""
        if self.deadline is not None:
            return max(0.0, self.deadline - self.now())
        return None if self.step_seconds is None else (plan.end - step) * self.step_seconds + self.reserve
