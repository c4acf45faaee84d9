"""Everything that can be benchmarked behind one face: PyTorch checkpoints, graphs and engines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.environment import has_gpu
from models.bundled import bundled_models, resolve_model
from runtime.errors import DefianError
from runtime.files import sha256_of
from runtime.manifest import read_manifest
from runtime.onnx_session import OnnxSession
from runtime.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack

    import numpy as np

    from runtime.manifest import Manifest

CHECKPOINTS = (".pth", ".pt", ".safetensors")


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
    for artefact in artefacts:
        opened = _open(
            artefact, _unique(artefact, [other.name for other in candidates]), _Opener(provider, stack, threads)
        )
        if candidates and opened.scale != candidates[0].scale:
            first = candidates[0]
            raise DefianError(
                f"Expected artefacts of one scale, found {first.name} (x{first.scale}) and {opened.name} "
                f"(x{opened.scale}).",
                "Benchmark each scale in a run of its own.",
            )
        candidates.append(opened)
    return candidates


def _unique(artefact: str, taken: list[str]) -> str:
    name = f"{artefact} (PyTorch)" if artefact in bundled_models() else Path(artefact).name
    copies = 2
    unique = name
    while unique in taken:
        unique = f"{name} ({copies})"
        copies += 1
    return unique


@dataclass(frozen=True)
class _Opener:
    provider: str
    stack: ExitStack
    threads: int

    def __call__(self, path: Path) -> OnnxSession:
        if path.suffix == ".onnx":
            return self.stack.enter_context(OnnxSession(path, self.provider, self.threads))
        return self.stack.enter_context(open_session(path, self.provider))


def _open(artefact: str, name: str, session_of: _Opener) -> Candidate:
    path = Path(artefact)
    if artefact in bundled_models() or path.suffix in CHECKPOINTS:
        return _open_checkpoint(resolve_model(artefact), name)
    manifest = read_manifest(path)
    kind = "onnx" if path.suffix == ".onnx" else "engine"
    run, backend, reason = None, "", ""
    if kind == "engine" and not has_gpu():
        reason = "no NVIDIA GPU here; its figures are the compiler's, and bounds"
    else:
        session = session_of(path)
        run, backend = session, session.describe()
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
    )


def _open_checkpoint(path: Path, name: str) -> Candidate:
    import torch

    from export.reference import upscale
    from models.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    network = checkpoint.network()
    return Candidate(
        name,
        "pytorch",
        path,
        checkpoint.name,
        checkpoint.architecture.scale,
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
