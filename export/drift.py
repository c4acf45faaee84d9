"""The drift of whatever can be run against the PyTorch network, as ``defian_edge.measure_drift`` gives it.

How a graph, a network and a session are evaluated is said here once; ``bench.py`` evaluates by the same functions.
PyTorch and onnx-ir are imported where they are needed: a device may have neither.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.drift.report import DriftReport, measure_drift
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.interface import Session, require_uint8_io
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.export.source.base import SourceNetwork
    from defian_edge.export.source.opening import Source
    from defian_edge.export.source.picture import PictureFormat
    from defian_edge.runtime.backends import Backend
    from defian_edge.runtime.profile import ShapeProfile

    Evaluate = Callable[[np.ndarray], Evaluation]


def graph_evaluator(path: Path) -> Evaluate:
    """A graph on the CPU with every FP16 tensor rounded as on a device, its values before rounding in view."""
    import onnx_ir as ir

    from defian_edge.calibration.drift.evaluator import GraphEvaluator

    return GraphEvaluator(ir.load(path), ranges=True)


def session_evaluator(run: Callable[[np.ndarray], np.ndarray]) -> Evaluate:
    """What upscales uint8 RGB [N, H, W, 3] to [N, sH, sW, 3], as it is: the values before rounding cannot be seen."""
    return lambda lr: Evaluation(run(lr[None])[0], finite=True)


def drift_of(
    candidate: Path | str | Session | Source,
    reference: Source,
    pairs: Sequence[EvaluationPair],
    backend: Backend | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> DriftReport:
    """See :func:`defian_edge.measure_drift`."""
    from defian_edge.export.source.base import reference_of
    from defian_edge.export.source.opening import open_source

    network = open_source(reference, _picture_of(candidate))
    _require_pairs(pairs, network.scale)
    with ExitStack() as stack:
        name, evaluate, profile = _opened(candidate, network, backend, stack)
        say(f"running the {network.reference} reference {network.name} on {len(pairs)} images")
        against = reference_of(network, pairs, profile)
        say(f"measuring the drift of {name}")
        return measure_drift(name, evaluate, against)


def _picture_of(candidate: Any) -> PictureFormat:  # noqa: ANN401 - told apart here
    """What the network that a graph, an engine or a session was made of takes for a picture, as its manifest says."""
    from defian_edge.export.source.picture import PictureFormat

    said: dict[str, Any] = {}
    if isinstance(candidate, Session):
        said = candidate.manifest.source
    elif isinstance(candidate, (str, Path)) and Path(candidate).suffix in (".onnx", ".engine"):
        said = read_manifest(Path(candidate)).source
    return PictureFormat.from_json(said["picture"]) if "picture" in said else PictureFormat()


def _opened(
    candidate: Any,  # noqa: ANN401 - told apart here
    reference: SourceNetwork,
    backend: Backend | None,
    stack: ExitStack,
) -> tuple[str, Evaluate, ShapeProfile | None]:
    """A candidate's name, how it is evaluated, and the shapes that it takes."""
    path = Path(candidate) if isinstance(candidate, (str, Path)) else None
    artefact = path is not None and path.suffix in (".onnx", ".engine")
    if not artefact and backend is not None:
        raise DefianError(f"Expected a backend with the path of a graph or engine alone, found {backend}.")
    if artefact and path is not None:
        manifest = read_manifest(path)
        require_uint8_io(manifest)
        _require_scale(manifest.scale, reference, path.name)
        if path.suffix == ".onnx" and backend is None:
            return path.name, graph_evaluator(path), None
        session = stack.enter_context(open_session(path, backend=backend))
        return path.name, session_evaluator(session), session.profile
    if isinstance(candidate, Session):
        _require_scale(candidate.manifest.scale, reference, candidate.manifest.file)
        return candidate.manifest.file, session_evaluator(candidate), candidate.profile
    from defian_edge.export.source.opening import open_source

    opened = open_source(candidate)
    _require_scale(opened.scale, reference, opened.name)
    return opened.name, opened.evaluate, None


def _require_scale(scale: int, reference: SourceNetwork, name: str) -> None:
    expected = reference.scale
    if scale != expected:
        raise DefianError(f"Expected a candidate of scale {expected} as {reference.name}, found {name} of {scale}.")


def _require_pairs(pairs: Sequence[EvaluationPair], scale: int) -> None:
    if not pairs:
        raise DefianError(
            "Expected at least one pair of LR and HR, found none.", "Make them with evaluation_pairs(scale, folder)."
        )
    for pair in pairs:
        height, width = (scale * side for side in pair.lr.shape[:2])
        if pair.hr.shape != (height, width, 3):
            raise DefianError(f"{pair.name}: expected HR of [{height}, {width}, 3], found {list(pair.hr.shape)}.")
