"""Tasks that were left by lost workers, done again so that a worker is lost over nothing but the task that it does.

Ray Data counts a loss against every task that waits at the worker, and against some while a lost machine is not known
to be lost. Here a task goes to a worker that is up and has no other, and each loss of a worker is seen by itself.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..entry import raise_if_ended
from ..errors import DefianError
from .checks import last_line
from .messages import Outcome
from .pool import NO_WORKERS_HINT, TRIES
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from .messages import Task
    from .room import Share

PATIENCE = 600.0
"""Seconds in which at least one worker has to be up, its session opened."""
LOOK = 1.0
"""Seconds between two looks at whether the run was ended."""


def outcomes_alone(
    ray: Any,  # noqa: ANN401 - the module
    tasks: Sequence[Task],
    share: Share,
    given: dict[str, Any],
) -> Generator[Outcome, None, None]:
    """What became of tasks, in the order in which they are done; nothing of those that ``TRIES`` workers died over.

    Args:
        ray: the module, connected.
        tasks: what is to be done.
        share: how many workers at most, and what each of them gets. Machines may have gone: as many work as find room.
        given: what every worker is made with.

    Raises:
        DefianError: no worker can be started.
    """
    crew, waiting, lost = _Crew(ray, share, given), deque(tasks), Counter[int]()
    try:
        while waiting or crew.busy:
            crew.fill(len(waiting))
            while waiting and crew.idle:
                crew.give(waiting.popleft())
            for task, said in crew.ended():
                if said is not None:
                    yield Outcome.of_text(said)
                    continue
                lost[task.number] += 1
                if lost[task.number] < TRIES:
                    waiting.append(task)
            raise_if_ended()
    finally:
        crew.dismiss()


class _Crew:
    """Workers that are started, idle or busy; Ray starts none of them again."""

    def __init__(self, ray: Any, share: Share, given: dict[str, Any]) -> None:  # noqa: ANN401 - the module
        self._ray, self._workers, self._given = ray, share.workers, given
        how = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_restarts": 0, "max_task_retries": 0}
        self._make = ray.remote(Worker).options(**how)
        self._starting: dict[Any, Any] = {}
        self._broken, self._up = 0, time.monotonic()
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, Task]] = {}

    def fill(self, waiting: int) -> None:
        """Start workers for tasks that wait, up to their number."""
        up = len(self.busy) + len(self.idle)
        for _ in range(min(self._workers, waiting + len(self.busy)) - up - len(self._starting)):
            worker = self._make.remote(**self._given)
            self._starting[worker.__ray_ready__.remote()] = worker

    def give(self, task: Task) -> None:
        """Have an idle worker do a task."""
        worker = self.idle.pop()
        self.busy[worker.do.remote(task.to_text())] = worker, task

    def ended(self) -> list[tuple[Task, str | None]]:
        """Tasks that have ended meanwhile, and what became of them; None for a lost worker."""
        ray = self._ray
        found: list[tuple[Task, str | None]] = []
        ready, _ = ray.wait([*self._starting, *self.busy], num_returns=1, timeout=LOOK)
        for reference in ready:
            if reference in self._starting:
                self._started(reference)
                continue
            worker, task = self.busy.pop(reference)
            try:
                found.append((task, ray.get(reference)))
                self.idle.append(worker)
            except ray.exceptions.RayError:  # it, or its machine; perhaps it only cannot be reached
                found.append((task, None))
                self._end(worker)
        self._require_one_up()
        return found

    def _started(self, reference: Any) -> None:  # noqa: ANN401 - Ray's
        worker = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._broken += 1
            if self._broken >= TRIES * self._workers:  # a lost machine takes all that start there
                raise DefianError(f"Ray cannot run the workers: {last_line(error)}", NO_WORKERS_HINT) from error
            self._end(worker)
        else:
            self._broken = 0
            self.idle.append(worker)

    def _require_one_up(self) -> None:
        now = time.monotonic()
        if self.busy or self.idle:
            self._up = now
        elif now - self._up > PATIENCE:
            raise DefianError(
                f"No worker has come up on any machine of the cluster within {PATIENCE:.0f} s.",
                "ray status lists its machines. When there is room the same command goes on.",
            )

    def dismiss(self) -> None:
        """End all workers."""
        for worker in (*self._starting.values(), *self.idle, *(worker for worker, _ in self.busy.values())):
            self._end(worker)

    def _end(self, worker: Any) -> None:  # noqa: ANN401 - Ray's
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker)
