"""When training ends, and the learning rate on the way there."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tools.train.clock import FINISH_SECONDS, Clock
from tools.train.schedule import FLOOR, Plan, rate_at


def test_the_rate_warms_up_peaks_and_falls_to_its_floor():
    plan = Plan(0, 0.0, 1000)
    rates = [rate_at(plan, step, 1e-3, 100) for step in range(1001)]
    assert rates[0] == pytest.approx(1e-5 + FLOOR)
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert 80 < rates.index(max(rates)) < 120
    assert rates[500] == pytest.approx(5e-4, rel=0.01)
    assert rates[1000] == FLOOR
    assert all(later < earlier for earlier, later in pairwise(rates[150:]))


def test_moving_the_end_leaves_the_rate_without_a_jump():
    plan = Plan(0, 0.0, 1000)
    for end in (500, 3000):
        moved = plan.moved(400, end)
        assert moved.phase_at(400) == plan.phase_at(400)
        assert moved.phase_at(end) == 1.0


class Simulated:
    """A device whose steps take so many seconds; the clock stands still otherwise."""

    def __init__(self, deadline: float, validations: int = 11) -> None:
        self.time = 0.0
        self.clock = Clock(deadline, validations, now=lambda: self.time)

    def steps(self, count: int, seconds: float) -> None:
        self.time += count * seconds
        self.clock.trained(count, count * seconds)


@pytest.mark.parametrize("later", [0.01, 0.02])
def test_the_cosine_ends_where_the_minutes_end_even_if_steps_become_slower(later):
    device, plan, step, planned_at = Simulated(deadline=60.0), Plan(0, 0.0, 10**12), 0, 0.0
    device.clock.start(0.5)
    while step < plan.end and not device.clock.is_over(10):
        device.steps(10, 0.01 if step < 1000 else later)
        step += 10
        if (plan.end == 10**12 and device.clock.first_plan_is_due()) or plan.phase_at(step) >= planned_at + 0.05:
            plan = device.clock.planned(plan, step, 30.0)
            planned_at = plan.phase_at(step)
    assert plan.phase_at(step) > 0.99
    assert 60.0 - device.clock.reserve - 6.0 < device.time <= 60.0 - FINISH_SECONDS


def test_validations_that_would_take_too_much_of_the_minutes_become_fewer():
    for seconds, expected in ((0.01, 11), (1.0, 2 + 2), (30.0, 2)):
        clock = Simulated(deadline=60.0).clock
        clock.start(seconds)
        assert clock.validations == expected


def test_a_budget_of_steps_knows_no_deadline():
    clock, plan = Clock(None, 3), Plan(0, 0.0, 10)
    clock.trained(5, 1e6)
    assert not clock.is_over(10**6)
    assert clock.planned(plan, 5, 30.0) == plan
    assert clock.affords_validation()
