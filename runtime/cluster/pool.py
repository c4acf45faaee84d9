"""Tasks given to the workers by Ray Data."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

from ..errors import DefianError
from .checks import last_line
from .messages import Outcome
from .worker import OUTCOME, TASK, Worker

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from .messages import Task
    from .room import Share

TRIES = 3
"""Workers that may be lost over a task, one after the other, before it is given up."""
RETRIES: dict[str, Any] = {"max_restarts": -1, "max_task_retries": TRIES - 1}
"""Of an actor. Ray Data passes them on until 2.64, and says so in a warning; by itself it tries without end."""
IN_FLIGHT = 2
"""Blocks that a worker has at once: the one that it does, and the next."""
NO_WORKERS_HINT = "Its log is in /tmp/ray/session_latest/logs."


def outcomes_of(
    ray: Any,  # noqa: ANN401 - the module
    tasks: Sequence[Task],
    blocks: int,
    share: Share,
    given: dict[str, Any],
) -> Generator[Outcome, None, None]:
    """What became of tasks, in the order in which they are done; nothing of those that were at lost workers.

    A lost worker is replaced and its tasks are tried again, but Ray counts each loss against whatever waits at that
    worker: a task of which nothing comes may be sound (``outcomes_alone`` finds out).

    No more than ``IN_FLIGHT`` blocks a worker are under way, and neither pictures nor results come here, so that the
    memory of this process does not grow with what is done.

    Args:
        ray: the module, connected.
        tasks: what is to be done.
        blocks: into which the tasks are divided; a block is lost as a whole.
        share: how many workers, and what each of them gets.
        given: what every worker is made with.

    Raises:
        DefianError: no worker can be started.
    """
    rows = [{TASK: task.to_text()} for task in tasks]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        done = _dataset(ray, rows, blocks, share, given)
    try:
        for row in done.iter_rows():
            yield Outcome.of_text(row[OUTCOME])
    except ray.exceptions.RayError as error:
        raise DefianError(f"Ray cannot run the workers: {last_line(error)}", NO_WORKERS_HINT) from error


def _dataset(ray: Any, rows: list[dict[str, str]], blocks: int, share: Share, given: dict[str, Any]) -> Any:  # noqa: ANN401
    """What Ray Data is asked for; nothing is done before its rows are."""
    data = ray.data
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    return data.from_items(rows, override_num_blocks=blocks).map_batches(
        Worker,
        fn_constructor_kwargs=given,
        batch_size=None,
        compute=data.ActorPoolStrategy(size=min(share.workers, blocks), max_tasks_in_flight_per_actor=IN_FLIGHT),
        num_cpus=share.cpus,
        num_gpus=share.gpus or None,
        **RETRIES,
    )
