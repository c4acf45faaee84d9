"""Training from the first step to the last, with everything that happens on the way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from defian_edge.runtime.errors import DefianError
from tools.train.clock import PLANNED, UNKNOWN_END
from tools.train.patches import BLOCK
from tools.train.saved import Saved, save_training, save_weights
from tools.train.schedule import Plan, rate_at
from tools.train.stopping import Stop, never

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.train.clock import Clock
    from tools.train.device import Runner
    from tools.train.journal import Journal
    from tools.train.options import TrainOptions
    from tools.train.validation import Validator

LOG_STEPS = 100
GPU_BURST = 25
"""Steps between two looks at the clock."""


class Loop:
    """Makes steps until the budget is used up.

    Attributes:
        step: made so far, of all pieces.
        plan: of the learning rate.
        psnr: of the last validation by set.
        stopped: whether somebody asked to stop.
    """

    def __init__(
        self,
        options: TrainOptions,
        runner: Runner,
        clock: Clock,
        validator: Validator,
        journal: Journal,
        say: Callable[[str], None],
    ) -> None:
        self._options, self._runner, self._clock = options, runner, clock
        self._validator, self._journal, self._say = validator, journal, say
        self._begun = time.monotonic()
        self._earlier = 0.0
        self._data = runner.step.bank.sha256
        self.step = 0
        self.psnr: dict[str, float] = {}
        self.stopped = False
        self.plan = Plan(0, 0.0, options.steps or UNKNOWN_END)

    def resume(self, saved: Saved) -> None:
        """Go on from there.

        Raises:
            DefianError: that training is finished, or its minutes are used up.
        """
        plan = saved.plan or self.plan
        done = f"The training in {self._options.out} has made {saved.step} steps in {saved.seconds:.0f} s"
        if saved.step >= plan.end:
            raise DefianError(f"{done} and is finished.", "Begin another one with --init and its weights.")
        if self._clock.is_over(1):
            raise DefianError(f"{done}, which leaves none of its --minutes.", "Give it more --minutes.")
        if self._options.steps is not None and plan.end != self._options.steps:
            plan = plan.moved(saved.step, self._options.steps)
        self.plan, self.step, self._earlier = plan, saved.step, saved.seconds
        self._runner.step.state.restore(saved.state)

    def seconds(self, process_begun: float) -> float:
        """Of this training, all pieces together."""
        return self._earlier + time.monotonic() - process_begun

    def run(self, process_begun: float, stop: Stop = never) -> None:
        """Train to the end.

        Raises:
            DefianError: something cannot be written; the last checkpoint stays.
        """
        self._begun = process_begun
        self._clock.start(self._validate() if self.step == 0 else 0.0)
        unplanned = self._clock.deadline is not None
        next_plan = next_validation = self.plan.phase_at(self.step)
        next_plan += 1 / PLANNED
        last_save = logged = time.monotonic()
        while self.step < self.plan.end:
            count = self._burst()
            if self._clock.is_over(count):
                break
            if stop():
                self.stopped = True
                break
            begun = time.monotonic()
            self._runner.run(self.step, count, self.plan)
            self.step += count
            self._clock.trained(count, time.monotonic() - begun)
            if self.step % LOG_STEPS == 0:
                logged = self._log(logged)
            phase = self.plan.phase_at(self.step)
            if (unplanned and self._clock.first_plan_is_due()) or (not unplanned and phase >= next_plan):
                unplanned = False
                self._plan_anew()
                next_plan = phase + 1 / PLANNED
            steps_apart = 1 / max(1, self._clock.validations - 1)
            if not unplanned and phase >= next_validation + steps_apart and self.step < self.plan.end:
                next_validation += steps_apart
                self._validate()
            if time.monotonic() - last_save >= self._options.save_seconds:
                self.save()
                last_save = time.monotonic()
        if self.step % LOG_STEPS:
            self._log(logged)
        self.save()
        if self._clock.affords_validation():
            self._validate()
        else:
            self.psnr = {}
            self._say("WARNING: no time is left for the last validation")

    def save(self) -> None:
        """Write the training's checkpoint and the averaged weights."""
        begun = time.monotonic()
        step, plan = self._runner.step, None if self.plan.end == UNKNOWN_END else self.plan
        seconds = self.seconds(self._begun)
        save_training(
            self._options.out,
            Saved(self._options.identity(), self._data, self.step, seconds, plan, step.state.copy()),
        )
        save_weights(self._options.out, step.layout.unpack(step.state.average), step.architecture, self.step)
        self._clock.save_seconds = time.monotonic() - begun

    def _burst(self) -> int:
        wanted = GPU_BURST if self._runner.step.device.type == "cuda" else 1
        return min(wanted, BLOCK - self.step % BLOCK, LOG_STEPS - self.step % LOG_STEPS, self.plan.end - self.step)

    def _plan_anew(self) -> None:
        plan = self._clock.planned(self.plan, self.step, self._options.save_seconds)
        if plan != self.plan:
            self.plan = plan
            self._journal.note(step=self.step, planned_end=plan.end, phase=round(plan.phase, 5))

    def _log(self, since: float) -> float:
        state, now = self._runner.step.state, time.monotonic()
        count = float(state.loss_count)
        loss = float(state.loss_sum) / count if count else float("nan")
        state.loss_sum.zero_()
        state.loss_count.zero_()
        rate = rate_at(self.plan, self.step - 1, self._options.rate, self._options.warm_up)
        speed = self._options.batch / (self._clock.step_seconds or 1.0)
        entry: dict[str, Any] = {
            "step": self.step,
            "seconds": round(self.seconds(self._begun), 2),
            "loss": loss,
            "rate": rate,
            "images_per_second": round(speed, 1),
            "skipped": int(state.skipped),
        }
        self._journal.note(**entry)
        if now - since >= 0.5 or self.step >= self.plan.end:
            left = self._clock.seconds_left(self.plan, self.step)
            end = "?" if self.plan.end == UNKNOWN_END else str(self.plan.end)
            self._say(
                f"step {self.step} of {end}, loss {loss:.4f}, rate {rate:.1e}, {speed:.1f} images/s, "
                f"skipped {int(state.skipped)}, {'end unknown' if left is None else _clock_words(left)}"
            )
            return now
        return since

    def _validate(self) -> float:
        if self._validator.empty:
            return 0.0
        begun, step = time.monotonic(), self._runner.step
        self.psnr = self._validator(step.layout.unpack(step.state.average))
        took = time.monotonic() - begun
        self._clock.validation_seconds = took
        self._journal.note(step=self.step, seconds=round(self.seconds(self._begun), 2), psnr=self.psnr)
        figures = ", ".join(f"{name} {value:.3f} dB" for name, value in self.psnr.items())
        self._say(f"step {self.step}: PSNR-Y {figures} ({took:.1f} s)")
        return took


def _clock_words(left: float) -> str:
    minutes, seconds = divmod(round(left), 60)
    return f"{minutes}:{seconds:02} left, ends at {time.strftime('%H:%M:%S', time.localtime(time.time() + left))}"
