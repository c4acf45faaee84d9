"""The learning rate: a warm-up, then half a cosine whose end can be moved while training runs.

The rate of a step follows from the plans alone, and these are kept in the checkpoint: a resumed training has the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FLOOR = 1e-6
"""Of the rate, so that the last steps still do something."""


@dataclass(frozen=True)
class Plan:
    """From a step on, the cosine runs evenly from a phase to its end.

    Attributes:
        start: first step of this plan.
        phase: of the cosine at that step, 0 to 1.
        end: the step at which the phase is 1.
    """

    start: int
    phase: float
    end: int

    def phase_at(self, step: int) -> float:
        """0 at the beginning of training, 1 at its end."""
        share = (step - self.start) / max(1, self.end - self.start)
        return min(1.0, self.phase + (1.0 - self.phase) * share)

    def moved(self, step: int, end: int) -> Plan:
        """The plan that goes on from this one at a step and ends elsewhere."""
        return Plan(step, self.phase_at(step), max(end, step + 1))


def rate_at(plan: Plan, step: int, peak: float, warm_up: int) -> float:
    """The learning rate of a step, counted from 0."""
    cosine = 0.5 * (1.0 + math.cos(math.pi * plan.phase_at(step)))
    return peak * min(1.0, (step + 1) / max(1, warm_up)) * cosine + FLOOR
