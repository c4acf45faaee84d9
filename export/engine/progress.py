"""The compiler's progress as a bar in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from rich.progress import Progress, TaskID


class BuildProgress:
    """Shows the phases that TensorRT reports, the outermost as a bar, through ``IProgressMonitor``.

    Args:
        progress: a started rich progress display.
        description: what is being built.
    """

    def __init__(self, progress: Progress, description: str) -> None:
        self._progress = progress
        self._description = description
        self._tasks: dict[str, TaskID] = {}
        self.phases: list[str] = []

    def monitor(self, trt: ModuleType) -> Any:  # noqa: ANN401
        """An ``IProgressMonitor`` of this TensorRT module. Interrupting the program stops the build."""
        bar = self

        class Monitor(trt.IProgressMonitor):
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                bar.start(phase_name, parent_phase, num_steps)

            def step_complete(self, phase_name: str, step: int) -> bool:
                bar.step(phase_name, step)
                return True

            def phase_finish(self, phase_name: str) -> None:
                bar.finish(phase_name)

        return Monitor()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins; nested ones are indented."""
        self.phases.append(phase)
        indent = "  " if parent else ""
        label = phase if parent else self._description
        self._tasks[phase] = self._progress.add_task(f"{indent}{label}", total=max(steps, 1))

    def step(self, phase: str, step: int) -> None:
        """A phase has completed its step number ``step``, counted from 0."""
        if phase in self._tasks:
            self._progress.update(self._tasks[phase], completed=step + 1)

    def finish(self, phase: str) -> None:
        """A phase is over; nested bars disappear, the outermost stays full."""
        task = self._tasks.pop(phase, None)
        if task is None:
            return
        total = next((t.total for t in self._progress.tasks if t.id == task), None)
        self._progress.update(task, completed=total)
        if self._tasks:
            self._progress.remove_task(task)
