"""Everything that can be benchmarked behind one face: PyTorch checkpoints, graphs and engines."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from defian_edge.benchmark.environment import has_gpu
from defian_edge.models.bundled import SUFFIXES, bundled_models, resolve_model
from defian_edge.runtime.backends import GraphBackend
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import sha256_of
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import ExitStack

    import numpy as np

    from defian_edge.runtime.interface import Session
    from defian_edge.runtime.manifest import Manifest
    from defian_edge.runtime.profile import ShapeProfile


@dataclass(frozen=True)
class Candidate:
    """One artefact of a benchmark.

    Attributes:
        name: short and unique in the run.
        kind: ``pytorch``, ``onnx`` or ``engine``.
        path: the file.
        model, scale, precision: of the network in it.
        checkpoint_sha256: which weights it was made from.
        backend: what runs it, in words.
        run: uint8 RGB [N, H, W, 3] -> [N, sH, sW, 3]; None where this machine cannot run it.
        not_run: why not; empty if it runs.
        manifest: of a graph or engine; None for a checkpoint.
        timings: seconds that the device spent on the parts of the last run, by name: ``enqueue``, ``h2d``, ``compute``,
            ``d2h``; nothing where the session cannot tell; None for what has no session.
        on_gpu: whether a GPU computes.
    """

    name: str
    kind: str
    path: Path
    model: str
    scale: int
    precision: str
    checkpoint_sha256: str
    backend: str
    run: Callable[[np.ndarray], np.ndarray] | None
    not_run: str = ""
    manifest: Manifest | None = None
    timings: Callable[[], Mapping[str, float]] | None = None
    on_gpu: bool = False

    @property
    def profile(self) -> ShapeProfile | None:
        """The shapes that it accepts, if it is an engine or a graph of one size; None for any."""
        return None if self.manifest is None else self.manifest.profile


def uses_gpu(artefact: Path, provider: str) -> bool:
    """Whether a GPU runs the artefact: an engine always, a graph by its provider, a checkpoint never."""
    if artefact.suffix == ".onnx":
        return provider != "cpu"
    return artefact.suffix.lower() not in SUFFIXES and artefact.name not in bundled_models()


def open_candidates(artefacts: Iterable[str], provider: str, stack: ExitStack, threads: int = 0) -> list[Candidate]:
    """Open every artefact; what is open is closed with the stack.

    Args:
        artefacts: bundled model names, and paths of checkpoints, graphs and engines.
        provider: what runs the graphs: ``cpu``, ``cuda`` or ``tensorrt``.
        stack: closes the sessions.
        threads: CPU threads of a graph's session, 0 for ONNX Runtime's choice.

    Raises:
        DefianError: an artefact is missing, does not fit its manifest or is of another scale than the first.
    """
    candidates: list[Candidate] = []
    given = list(artefacts)
    for artefact, name in zip(given, names_of(given), strict=True):
        opened = _open(artefact, name, _Opener(provider, stack, threads))
        if candidates and opened.scale != candidates[0].scale:
            first = candidates[0]
            raise DefianError(
                f"Expected artefacts of one scale, found {first.name} (x{first.scale}) and {opened.name} "
                f"(x{opened.scale}).",
                "Benchmark each scale in a run of its own.",
            )
        candidates.append(opened)
    return candidates


def names_of(artefacts: Iterable[str]) -> list[str]:
    """What the artefacts are called in the tables, without opening them."""
    names: list[str] = []
    for artefact in artefacts:
        names.append(_unique(artefact, names))
    return names


def _unique(artefact: str, taken: list[str]) -> str:
    """The file's name; with its folder where another artefact has that name, and a number for a second copy."""
    if artefact in bundled_models():
        choices = [f"{artefact} (PyTorch)"]
    else:
        path = Path(artefact)
        choices = [path.name, f"{path.parent.name}/{path.name}" if path.parent.name else path.name]
    numbered = (f"{choices[-1]} ({copy})" for copy in count(2))
    return next(name for name in chain(choices, numbered) if name not in taken)


@dataclass(frozen=True)
class _Opener:
    provider: str
    stack: ExitStack
    threads: int

    def __call__(self, path: Path) -> Session:
        graph = path.suffix == ".onnx"
        backend = GraphBackend(provider=self.provider, threads=self.threads) if graph else None
        return self.stack.enter_context(open_session(path, backend=backend))


def _open(artefact: str, name: str, session_of: _Opener) -> Candidate:
    path = Path(artefact)
    if artefact in bundled_models() or path.suffix.lower() in SUFFIXES:
        return _open_checkpoint(resolve_model(artefact), name)
    manifest = read_manifest(path)
    kind = "onnx" if path.suffix == ".onnx" else "engine"
    run, backend, reason, timings = None, "", "", None
    if kind == "engine" and not has_gpu():
        reason = "no NVIDIA GPU here; its figures are the compiler's, and bounds"
    else:
        session = session_of(path)
        run, backend, timings = session, session.describe(), session.timings
    return Candidate(
        name,
        kind,
        path,
        manifest.model,
        manifest.scale,
        manifest.precision,
        manifest.checkpoint_sha256,
        backend,
        run,
        reason,
        manifest,
        timings,
        uses_gpu(path, session_of.provider),
    )


def _open_checkpoint(path: Path, name: str) -> Candidate:
    import torch

    from defian_edge.export.reference import upscale
    from defian_edge.models.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    network = checkpoint.network()
    return Candidate(
        name,
        "pytorch",
        path,
        checkpoint.name,
        checkpoint.scale,
        "fp32",
        sha256_of(path),
        f"PyTorch {torch.__version__} CPU",
        lambda images: upscale(network, images),
    )


def graph_of(candidate: Candidate) -> Path | None:
    """The graph whose work a candidate does: its own file, or the one beside it that an engine was built from.

    None for a checkpoint, and for an engine whose graph is not there any more.
    """
    if candidate.kind == "onnx":
        return candidate.path
    if candidate.manifest is None or not candidate.manifest.parent_sha256:
        return None
    wanted = candidate.manifest.parent_sha256
    return next((path for path in sorted(candidate.path.parent.glob("*.onnx")) if sha256_of(path) == wanted), None)
