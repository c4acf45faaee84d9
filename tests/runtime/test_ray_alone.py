"""Tasks that lost workers have left, on a stand-in for Ray: who is lost over what, and what is done about it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from defian_edge.runtime.cluster import alone
from defian_edge.runtime.cluster.alone import outcomes_alone
from defian_edge.runtime.cluster.messages import Outcome, Task
from defian_edge.runtime.cluster.room import Share
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.jobs import Job


class LostError(Exception):
    """What Ray raises of a lost worker."""


class Stage:
    """Plays the module ``ray`` as far as ``outcomes_alone`` uses it: references are what comes of them.

    Args:
        deadly: numbers of tasks that end their worker.
        unwell: numbers of tasks whose first worker is lost, as where a machine fails.
        broken: workers end before they are up.
        room: how many workers find room.
    """

    def __init__(
        self, *, deadly: tuple[int, ...] = (), unwell: tuple[int, ...] = (), broken: bool = False, room: int = 99
    ) -> None:
        self.exceptions = SimpleNamespace(RayError=LostError)
        self.deadly, self.unwell, self.broken, self.room = deadly, set(unwell), broken, room
        self.given: list[tuple[int, int]] = []
        self.alive: set[int] = set()
        self.started = 0
        self.held: dict[int, int] = {}

    def remote(self, worker: type) -> Any:  # noqa: ANN401 - as Ray's
        return SimpleNamespace(options=lambda **how: self._options(worker, how))

    def _options(self, worker: type, how: dict[str, Any]) -> Any:  # noqa: ANN401
        assert worker.__name__ == "Worker"
        assert how == {"num_cpus": 1, "num_gpus": 0, "max_restarts": 0, "max_task_retries": 0}
        return SimpleNamespace(remote=self._start)

    def _start(self, **given: object) -> Any:  # noqa: ANN401
        assert given == {"films": False}
        self.started += 1
        number = self.started
        self.alive.add(number)
        worker = SimpleNamespace(number=number, do=SimpleNamespace(remote=lambda text: self._do(number, text)))
        is_up = LostError("no library") if self.broken else None
        worker.__ray_ready__ = SimpleNamespace(remote=lambda: ("up", number, is_up))
        return worker

    def _do(self, worker: int, text: str) -> tuple[str, int, object]:
        number = Task.of_text(text).number
        assert worker in self.alive
        assert self.held.setdefault(worker, number) == number, "a worker has one task at a time"
        self.given.append((worker, number))
        if number in self.deadly or number in self.unwell:
            self.unwell.discard(number)
            return "done", worker, LostError(f"worker {worker} died")
        return "done", worker, Outcome(number).to_text()

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        assert num_returns == 1
        assert timeout <= 1
        ready = [each for each in references if each[0] == "done" or each[1] <= self.room]
        return ready[:1], ready[1:]

    def get(self, reference: tuple[str, int, object]) -> object:
        kind, worker, what = reference
        if kind == "done":
            del self.held[worker]
        if isinstance(what, Exception):
            raise what
        return what

    def kill(self, worker: Any) -> None:  # noqa: ANN401
        self.alive.remove(worker.number)


def outcomes(stage: Stage, count: int, workers: int = 2) -> list[int]:
    tasks = [Task(number, Job(Path("a.png"), Path("b.png"))) for number in range(count)]
    return [each.number for each in outcomes_alone(stage, tasks, Share(workers, 1, 0), {"films": False})]


def test_three_workers_are_lost_over_a_deadly_task_and_none_over_another():
    stage = Stage(deadly=(0, 3))
    assert sorted(outcomes(stage, 6)) == [1, 2, 4, 5]
    over = [number for _, number in stage.given]
    assert {number: over.count(number) for number in range(6)} == {0: 3, 1: 1, 2: 1, 3: 3, 4: 1, 5: 1}
    assert stage.alive == set(), "all workers are ended"


def test_workers_that_are_lost_once_over_every_task_cost_none():
    stage = Stage(unwell=(0, 1, 2, 3))
    assert sorted(outcomes(stage, 4)) == [0, 1, 2, 3]
    assert stage.started == 4 + 2, "one in the place of each that was lost, and no more than are needed"


def test_those_who_find_room_do_the_work_of_all():
    stage = Stage(room=1)
    assert sorted(outcomes(stage, 5, workers=4)) == [0, 1, 2, 3, 4]
    assert {worker for worker, _ in stage.given} == {1}
    assert stage.alive == set()


def test_workers_that_cannot_start_end_the_run():
    stage = Stage(broken=True)
    with pytest.raises(DefianError, match="Ray cannot run the workers: no library"):
        outcomes(stage, 3)
    assert stage.given == []


def test_a_cluster_without_room_ends_the_run(monkeypatch):
    monkeypatch.setattr(alone, "PATIENCE", 0.0)
    with pytest.raises(
        DefianError, match=r"No worker has come up on any machine of the cluster within 0 s.*\n.*goes on"
    ):
        outcomes(Stage(room=0), 3)
