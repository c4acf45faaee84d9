"""Verify artefacts: every picture of their reference packs, in every way that a session can be used."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..backends import EngineBackend, GraphBackend
from ..engine.session import EngineSession
from ..entry import raise_if_ended
from ..errors import DefianError
from ..guard import SuspiciousFrameWarning
from ..interface import require_uint8_io
from ..manifest import read_manifest
from ..onnx_session import OnnxSession
from .budget import Budget
from .checks import ROUNDS, Checker, Outcome
from .promise import pack_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..interface import Session
    from ..manifest import Manifest
    from .figures import Figures
    from .pack import ReferencePack, ReferencePicture


@dataclass(frozen=True)
class Verdict:
    """What became of one artefact.

    Attributes:
        path: the graph or engine.
        manifest: of it.
        pack: what it was held against.
        backend: what ran it, in words; empty if nothing did.
        outcomes: every result of every picture.
        notes: what a reader must know: pictures that were left out, ways that could not be checked.
        error: why it could not be run; empty if it was.
    """

    path: Path
    manifest: Manifest
    pack: ReferencePack
    backend: str = ""
    outcomes: tuple[Outcome, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""

    @property
    def failed(self) -> list[Outcome]:
        """What is wrong, in the order in which it was found."""
        return [each for each in self.outcomes if each.faults]

    @property
    def passed(self) -> bool:
        """Whether it ran, and nothing was wrong."""
        return not self.error and not self.failed


@dataclass(frozen=True)
class _Task:
    path: Path
    manifest: Manifest
    pack: ReferencePack
    promised: Mapping[str, Figures]


def verify(
    artefacts: Iterable[Path | str],
    reference: Path | str | None = None,
    budget: Budget | None = None,
    provider: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Verdict]:
    """Hold graphs and engines against what PyTorch made of the pictures of their reference packs.

    All manifests and packs are read before anything is run. One artefact that cannot be run does not keep the others
    from it.

    Args:
        artefacts: ``.onnx`` and ``.engine`` files, their manifests beside them.
        reference: a pack for all of them; by default each one's own, which its manifest names.
        budget: limits; see :class:`defian_edge.runtime.verify.budget.Budget`.
        provider: what runs the graphs among them: ``cpu`` (where nothing is said), ``cuda`` or ``tensorrt``.
        say: told what is being done.

    Returns:
        A verdict each, in the order of the artefacts.

    Raises:
        DefianError: an artefact, its manifest or its pack is missing, unreadable or another network's; or a provider is
            named and there is no graph.
    """
    given = None if reference is None else Path(reference)
    tasks = [_task(Path(artefact), given) for artefact in artefacts]
    if provider is not None and tasks and all(task.manifest.engine is not None for task in tasks):
        raise DefianError(
            f"--provider {provider}: expected a graph (.onnx) among what is verified, found engines alone.",
            "Leave --provider out: TensorRT runs an engine.",
        )
    verdicts = []
    for task in tasks:
        raise_if_ended()
        say(f"verifying {task.path.name}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SuspiciousFrameWarning)  # judged here, picture by picture
                verdicts.append(_verdict(task, budget or Budget(), provider or GraphBackend.provider))
        except DefianError as error:
            raise_if_ended()
            verdicts.append(Verdict(task.path, task.manifest, task.pack, error=str(error)))
    return verdicts


def _task(path: Path, reference: Path | None) -> _Task:
    manifest = read_manifest(path)
    require_uint8_io(manifest)
    return _Task(path, manifest, *pack_of(path, manifest, reference))


def _verdict(task: _Task, budget: Budget, provider: str) -> Verdict:
    pictures = [task.pack.load(each) for each in task.pack.pictures]
    found = Verdict(task.path, task.manifest, task.pack)
    if task.manifest.engine is None:
        with OnnxSession(task.path, GraphBackend(provider=provider)) as session:
            checker = Checker(pictures, task.promised, budget, session)
            checker.calls(session, "call", 1 if provider == "cpu" else ROUNDS, ROUNDS)
            return _finished(found, checker, session, task)
    options = EngineBackend(check="never")
    with EngineSession(task.path, replace(options, cuda_graphs=False)) as session:
        checker = Checker(pictures, task.promised, budget, session)
        _require_pictures(checker, pictures, task)
        checker.calls(session, "eager call", 1)
    with EngineSession(task.path, options) as session:
        checker.calls(session, "call", ROUNDS)
        return _finished(found, checker, session, task)


def _require_pictures(checker: Checker, pictures: list[ReferencePicture], task: _Task) -> None:
    if len(checker.left_out) == len(pictures):
        raise DefianError(
            f"{task.path.name}: none of the {len(pictures)} pictures of {task.pack.path.name} fits its profile "
            f"{task.manifest.profile}.",
            f"Export it again, which makes pictures that fit: {task.manifest.command}",
        )


def _finished(found: Verdict, checker: Checker, session: Session, task: _Task) -> Verdict:
    """Everything but the calls, and the verdict."""
    checker.batches(session)
    checker.frames(session)
    checker.tiles(session)
    notes = []
    if checker.left_out:
        notes.append(f"outside of its profile and left out: {', '.join(checker.left_out)}")
    if checker.batch < 2:
        notes.append("its profile takes no batch, so none was checked")
    if checker.least_batch > 1:
        notes.append(
            f"its profile takes no single image, so each ran {checker.least_batch} times in a batch; no frames"
        )
    if not task.promised:
        notes.append(f"nothing was promised on {task.pack.path.name}: its manifest does not name this pack")
    return replace(found, backend=session.describe(), outcomes=tuple(checker.outcomes), notes=tuple(notes))
