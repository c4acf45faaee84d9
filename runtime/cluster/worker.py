"""A worker: opens its session once, and does what it is given as a single run does it."""

from __future__ import annotations

import os
import socket
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..batch import Batch, Tally
from ..errors import DefianError
from ..files import DiskFullError
from ..video_encoder import require_encoder
from ..video_parts import UncutError
from .checks import another_version
from .films import CutFilm, do_join, do_part
from .messages import Outcome, Task

if TYPE_CHECKING:
    from ..batch import Work
    from ..interface import Session

TASK, OUTCOME = "task", "outcome"
"""Columns of what comes in and goes out; Ray Data takes tables."""


class Worker:
    """What Ray Data makes in every worker process, and calls with one batch after the other.

    Results and records are written from here, so that no picture passes through the program that asked.

    Args:
        work: what is done with every file.
        folder: where relative paths begin; empty if there are none.
        films: whether there are films, so that their encoder has to work here.
        version: of the program that asked; machines that were there before the first photo were asked for theirs.
    """

    def __init__(self, work: Work, folder: str = "", *, films: bool = False, version: str = __version__) -> None:
        if folder:
            os.chdir(folder)
        self._refusal: DefianError | None = None
        self._batch: Batch | None = None
        try:
            if version != __version__:
                raise another_version(socket.gethostname(), __version__, version)
            if films:
                require_encoder(work.encoding)
            self._session: Session = work.opening.open()
        except DefianError as error:  # raised here it would be lost among Ray's own
            self._refusal = error
        else:
            self._batch = work.batch(self._session)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Do a batch of tasks; what became of each."""
        return {OUTCOME: [self.do(str(text)) for text in batch[TASK]]}

    def do(self, text: str) -> str:
        """Do a task; both it and its outcome are texts."""
        return self._do(Task.of_text(text)).to_text()

    def _do(self, task: Task) -> Outcome:
        outcome = Outcome(task.number)
        if self._refusal is not None or self._batch is None:
            outcome.fail(self._refusal or DefianError("No session."), ends=True)
            return outcome
        guard, tally = self._session.guard, Tally()
        frames, suspicious = guard.frames, guard.suspicious
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("default")
            try:
                self._carry_out(task, self._batch, tally, outcome)
            except DiskFullError as full:
                outcome.fail(full, ends=True)
            except DefianError as error:
                outcome.fail(error)
                outcome.uncut = isinstance(error, UncutError)
            except Exception:  # a fault of the program, which Ray Data would take for a lost worker
                outcome.fault = traceback.format_exc()
        outcome.said += [(f"{each.category.__name__}: {each.message}", True) for each in warned]
        outcome.done, outcome.skipped, outcome.failures = tally.done, tally.skipped, tally.failures
        outcome.qualities = [(each.psnr, each.ssim) for each in tally.qualities]
        outcome.frames, outcome.suspicious = guard.frames - frames, guard.suspicious - suspicious
        outcome.session = self._session.describe()
        return outcome

    def _carry_out(self, task: Task, batch: Batch, tally: Tally, outcome: Outcome) -> None:
        if task.part is not None and task.source is not None:
            do_part(task.job, task.part, task.source, batch, outcome)
        elif task.parts and task.source is not None:
            do_join(CutFilm(task.job, task.source, task.parts, side_data=set(task.side_data)), batch, tally, outcome)
        else:
            error = batch.attempt(task.job, tally, outcome)
            if error is not None:
                outcome.fail(error)
