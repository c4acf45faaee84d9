"""Files done by the workers of a Ray cluster: Ray Data hands them out, and what became of them is told here."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..batch import Tally
from ..entry import printable, raise_if_ended
from ..manifest import read_manifest
from ..progress import ProgressBar
from ..quality import Quality
from ..video_parts import UncutError
from .alone import outcomes_alone
from .checks import Paths, require_alike
from .connect import connected
from .films import CutFilm, cut_film
from .messages import Outcome, Task
from .options import LOCAL
from .pool import TRIES, outcomes_of
from .room import nodes_of, share_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..batch import Work
    from ..jobs import Job
    from .options import Cluster
    from .room import Share

BLOCKS = 4096
"""Tasks come one a block up to this number, and beyond it as many a block as keep the blocks to it."""


def run_on_ray(work: Work, jobs: Sequence[Job], cluster: Cluster, seen: Sequence[Path], *, alone: bool) -> Tally:
    """Do all jobs on a cluster; one that fails does not stop the others.

    Args:
        work: what is done with every file.
        jobs: the files.
        cluster: where, and by how many workers.
        seen: further paths that every machine has to see.
        alone: the one job is the one file that was asked for, so that its failure is the command's.

    Raises:
        DefianError: Ray is not installed, no cluster answers, it has too little room or another version or engine, a
            machine does not see the files, the session cannot be opened, or the one file that was asked for failed.
        DiskFullError: no other result would fit either.
    """
    work.opening.backend()
    manifest = read_manifest(work.opening.engine)
    folder = str(Path.cwd()) if cluster.address == LOCAL else ""
    also = [] if work.originals is None else [work.originals]
    with connected(cluster.address) as ray:
        nodes = nodes_of(ray)
        share = share_of(nodes, cluster)
        require_alike(ray, nodes, Paths(work.opening.engine, work.out, [*seen, *also], folder), manifest.sha256)
        print(f"{share} on {len(nodes)} machine{'s' * (len(nodes) > 1)}")
        if not share.gpus:
            work = replace(work, opening=replace(work.opening, threads=share.cpus))
        run = _Run(ray, work, folder, share, alone=alone)
        run.plan(jobs, manifest.sha256)
        return run.tally()


@dataclass
class _Run:
    """The files on their way."""

    ray: Any
    work: Work
    folder: str
    share: Share
    alone: bool
    _tasks: list[Task] = field(default_factory=list)
    _films: dict[Path, CutFilm] = field(default_factory=dict)
    _has_films: bool = False
    _described: set[str] = field(default_factory=set)

    def plan(self, jobs: Sequence[Job], sha256: str) -> None:
        """What is to be done: a task for each file, or for each part of a film where there are several workers."""
        resume = self.work.resume(sha256)
        for job in jobs:
            self._has_films |= job.is_video
            try:
                film = cut_film(job, self.work, resume) if job.is_video and self.share.workers > 1 else None
            except UncutError as error:
                film = None
                print(printable(in_one_piece(job, error.message)), file=sys.stderr)
            if film is None:
                self._add(Task(len(self._tasks), job))
                continue
            self._films[job.target] = film
            for part in film.parts:
                self._add(Task(len(self._tasks), job, part, source=film.source))

    def _add(self, task: Task) -> None:
        self._tasks.append(task)

    def tally(self) -> Tally:
        """Do all; what films ask for in the end comes in a further round."""
        tally, begun = Tally(), 0
        given = {"work": self.work, "folder": self.folder, "films": self._has_films, "version": __version__}
        with ProgressBar(len(self._tasks)) as bar:
            while begun < len(self._tasks):
                asked, begun = self._tasks[begun:], len(self._tasks)
                blocks = min(len(asked), BLOCKS)
                left = self._take_all(outcomes_of(self.ray, asked, blocks, self.share, given), asked, tally, bar)
                if left:
                    bar.say(f"left by lost workers, and done again one by one: {len(left)}", sys.stderr)
                    left = self._take_all(outcomes_alone(self.ray, left, self.share, given), left, tally, bar)
                    self._give_up(left, tally)
        return tally

    def _take_all(
        self, outcomes: Generator[Outcome, None, None], asked: Sequence[Task], tally: Tally, bar: ProgressBar
    ) -> list[Task]:
        """Take what comes; the tasks of which nothing came."""
        left = {task.number: task for task in asked}
        with closing(outcomes):
            for outcome in outcomes:
                raise_if_ended()
                if left.pop(outcome.number, None) is not None:
                    self._take(outcome, tally, bar)
                    bar.step()
        return list(left.values())

    def _give_up(self, left: Sequence[Task], tally: Tally) -> None:
        """Files that have cost several workers fail; a film once, however many of its parts have."""
        for task in left:
            if task.part is None or self._films.pop(task.job.target, None) is not None:
                lost = f"{TRIES} workers were lost over it, one after the other, as where memory is short"
                tally.failures.append(f"{task.job.source}: {lost}.")

    def _take(self, outcome: Outcome, tally: Tally, bar: ProgressBar) -> None:
        if outcome.fault:
            raise RuntimeError(outcome.fault)
        task, error = self._tasks[outcome.number], outcome.to_error()
        film = self._films.get(task.job.target) if task.part is not None else None
        if task.part is not None and film is None:
            return  # another part of the film has failed, or the film is done whole
        if error is not None and not outcome.uncut and (self.alone or outcome.ends):
            raise error
        if outcome.session not in self._described:
            self._described.add(outcome.session)
            bar.say(outcome.session)
        for text, is_error in outcome.said:
            bar.say(text, sys.stderr if is_error else None)
        tally.done += outcome.done
        tally.skipped += outcome.skipped
        tally.failures += outcome.failures
        tally.qualities += [Quality(*each) for each in outcome.qualities]
        tally.frames += outcome.frames
        tally.suspicious += outcome.suspicious
        if film is not None and task.part is not None:
            self._take_part(film, task.part.index, outcome, bar)
        if error is not None and not outcome.failures and not outcome.uncut:
            self._films.pop(task.job.target, None)
            tally.failures.append(f"{task.job.source}: {error}")

    def _take_part(self, film: CutFilm, index: int, outcome: Outcome, bar: ProgressBar) -> None:
        """A part is done, or the film cannot be done in parts; after the last one the film is joined."""
        if outcome.uncut:
            del self._films[film.job.target]
            bar.say(in_one_piece(film.job, outcome.error[0]), sys.stderr)
            self._add(Task(len(self._tasks), film.job))
        elif not outcome.error:
            film.left.discard(index)
            film.side_data.update(outcome.side_data)
            if not film.left:
                side_data = tuple(sorted(film.side_data))
                self._add(Task(len(self._tasks), film.job, None, film.parts, film.source, side_data))


def in_one_piece(job: Job, why: str) -> str:
    """What is said of a film that is not cut."""
    return f"note {job.source}: it is done in one piece ({why})"
